"""The child that reads a policy document: unprivileged, limited, and gone afterwards.

``python -I -m ramnet.daemon.compile SOURCE``: document on stdin, blob on stdout, a refusal as
one line on stderr with exit status 1 (all that is ``ramnet.policy.__main__``). Privileges go
before the first byte of the document is read. The code and its data are loaded before that,
since root's installation need not be readable for the gate's uid.
"""

import resource
import sys
from typing import Final

from ramnet.kernel.process import confine
from ramnet.policy import list_presets
from ramnet.policy.__main__ import main as compile_stdin
from ramnet.ruleset import GATE_UID

MEMORY: Final = 4 << 30
"""Bytes; 1,000,000 entries of TOML need 1.5 GiB for a moment."""
CPU_SECONDS: Final = 120
BLOB: Final = 1 << 30
"""Bytes of output."""


def main() -> int:
    """Give up privileges, then compile."""
    list_presets()
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOB, BLOB))
    confine(GATE_UID, GATE_UID, memory=MEMORY, cpu_seconds=CPU_SECONDS)
    return compile_stdin()


if __name__ == "__main__":
    sys.exit(main())
