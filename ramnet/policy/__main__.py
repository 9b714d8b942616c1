"""``python -m ramnet.policy SOURCE``: document on stdin, compiled blob on stdout.

A short-lived child, so that reading a policy costs the service neither memory nor time,
and a document that breaks the reader breaks this process alone. Exit 0 with a whole blob,
or 1 with one line on stderr; ``SOURCE`` is what that line calls the document.
"""

import sys
from collections.abc import Callable

from ramnet.errors import RamnetError
from ramnet.policy.document import MAX_DOCUMENT, Document, read_document
from ramnet.policy.index import compile_parts


def main() -> int:
    """Compile; return the exit code."""
    source = sys.argv[1] if len(sys.argv) > 1 else "<stdin>"
    return compile_to_stdout(
        source, lambda: read_document(sys.stdin.buffer.read(MAX_DOCUMENT + 1), source=source)
    )


def compile_to_stdout(source: str, read: Callable[[], Document]) -> int:
    """Compile what ``read`` gives; return the exit code."""
    try:
        parts = compile_parts(read(), consume=True)
    except RamnetError as error:
        return _fail(str(error))
    except MemoryError:
        return _fail(f"{source}: not enough memory to read it")
    for part in parts:
        sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()
    return 0


def _fail(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
