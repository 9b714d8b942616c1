"""What the rules mean, asked of the trace: no kernel needed."""
