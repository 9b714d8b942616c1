"""The child that reads a policy document: unprivileged, limited, and gone afterwards.

``python -I -m ramnet.daemon.compile SOURCE``: document on stdin, blob on stdout, a refusal as
one line on stderr with exit status 1 (all that is ``ramnet.policy.__main__``). With ``--many`` in
front, stdin holds several documents as ``ramnet.trust.bundle`` packs them, which become one.

Privileges go before the first byte of the document is read. The code and its data are
loaded before that, since root's installation need not be readable for the gate's uid.
"""

import resource
import sys
from typing import Final

from ramnet.kernel.process import confine
from ramnet.policy import Document, list_presets, read_document, unite
from ramnet.policy.__main__ import compile_to_stdout
from ramnet.policy.__main__ import main as compile_stdin
from ramnet.ruleset import GATE_UID
from ramnet.trust.bundle import MAX_BUNDLE, unpack_documents

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
    return _compile_many(sys.argv[2]) if sys.argv[1:2] == ["--many"] else compile_stdin()


def _compile_many(source: str) -> int:
    def read() -> Document:
        documents = unpack_documents(sys.stdin.buffer.read(MAX_BUNDLE))
        return unite([read_document(data, source=f"{source}/{name}") for name, data in documents])

    return compile_to_stdout(source, read)


if __name__ == "__main__":
    sys.exit(main())
