"""ramnet's tests: `unit` (pure), `gate` and `daemon` (sockets), `lab` (the hosts), `system`."""
