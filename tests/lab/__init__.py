"""The lab: hosts to try ramnet on, made of Linux namespaces on one machine.

Two hosts and a wire between them:

    vm    192.0.2.2    2001:db8:1::2    a real dockerd, the docker client, ramnet
     |    veth `eth0` - `vm`; every packet on it is seen by `Capture`
    inet  192.0.2.1    2001:db8:1::1    everything else in the world

A *host* (`Host`) is what a WSL distribution or a small VM is to its programs: a process-id,
mount, UTS and network namespace with its own /etc, /run and /var/lib. Its first process reads a
pipe that we hold: when we go, however we go, the pipe closes, that process ends, and the kernel
kills everything in the host with it, dockerd and containers and shims included. No namespace has
a name on the machine, so nothing of the network stays behind either; directories and cgroups of a
crashed run are swept by the next one. The machine's own namespaces are never changed. Two hosts
may share one network namespace (`Host.create(..., network_of=other)`), as WSL distributions do.

`inet` answers to everything, so that a leak always has somewhere to arrive:

- DNS by two dnsmasq processes (192.0.2.53 is the vm's resolver; 198.51.100.53 is a foreign one
  that tells other addresses). Names of `addresses.SITES` have A and AAAA, any other name resolves
  to `addresses.ANYWHERE`.
- nginx with TLS on 443, 5000 and 853 and HTTP on 80, in front of real docker-registry processes
  (plain ones, one whose blobs redirect to a CDN host, one that wants a login), static files and
  git over smart HTTP. Certificates come from one trustme authority.
- 198.51.100.0/24, 203.0.113.0/24 and 2001:db8:2::/64 are local to inet as a whole; a port nobody
  listens on is redirected to a service that greets and echoes, over TCP and UDP.

`Capture` sees all that crosses the wire and knows when it has seen it: it puts a marker frame on
the wire from each CPU and waits for the markers, it never sleeps. `Docker` and `Ramnet` run the
real programs in the vm; both tell readiness by the systemd notify protocol.

    with Lab.create() as lab:
        lab.docker.start()
        with lab.capture() as capture:
            pull = lab.docker.run("pull", "registry.blocked.example/app:1")
            assert not capture.settle().sent_by_vm().to_site(addresses.REGISTRY_BLOCKED)

In tests use the fixtures of `tests.lab.fixtures`. `python -m tests.lab.demo` is `make demo`.
"""

from tests.lab.capture import Capture, Packets
from tests.lab.docker import Docker
from tests.lab.host import Host
from tests.lab.lab import Lab, missing
from tests.lab.packet import Packet
from tests.lab.processes import LabError, Process, Result
from tests.lab.service import Ramnet, policy_text

__all__ = [
    "Capture",
    "Docker",
    "Host",
    "Lab",
    "LabError",
    "Packet",
    "Packets",
    "Process",
    "Ramnet",
    "Result",
    "missing",
    "policy_text",
]
