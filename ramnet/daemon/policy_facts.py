"""What the caveats want to know of the policy document, and who reads it.

A document is what others wrote. Where this process is root, it opens the file and hands it, unread,
to a child without privileges, as the service does to compile it (``ramnet.daemon.compile``):
``python -I -m ramnet.daemon.policy_facts SOURCE file|bundle``, the document on stdin, what was
found as JSON on stdout. Anybody else reads it in place, having no privileges to lose.
"""

import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from ramnet.caveats.facts import PolicyFacts, Unseen
from ramnet.config import Config
from ramnet.daemon import memfd
from ramnet.errors import RamnetError
from ramnet.kernel.process import confine
from ramnet.policy import Document, findings, list_presets, read_document, unite
from ramnet.policy.index import preset_uses
from ramnet.ruleset.names import GATE_UID
from ramnet.trust.bundle import BUNDLE, MAX_BUNDLE, unpack

MAX_EXAMINED: Final = 200_000
"""Entries of a policy that are looked at one by one; it takes some seconds."""
TIME_LIMIT: Final = 100.0
"""Seconds for all of it."""
COMMAND: Final = (sys.executable, "-I", "-m", "ramnet.daemon.policy_facts")
_MEMORY: Final = 4 << 30
_CPU_SECONDS: Final = 90
_MAX_ANSWER: Final = 64 << 20
"""Bytes; 200,000 names of the longest kind."""


class Answer(msgspec.Struct, frozen=True):
    """What was found, or why nothing was."""

    facts: PolicyFacts | None = None
    reason: str = ""


_answers: Final = msgspec.json.Decoder(Answer)


def look(config: Config) -> PolicyFacts | Unseen:
    """Read this machine's policy: its file, or what was kept of its policy server's."""
    path = Path(config.state_dir) / BUNDLE if config.signed else Path(config.policy)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if config.signed and isinstance(error, FileNotFoundError):
            return Unseen(f"nothing has been fetched from {config.policy} yet; try: ramnet refresh")
        return Unseen(f"{path}: cannot be read: {error.strerror}")
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return Unseen(f"{path}: is not a regular file")
        read = by_a_child if os.geteuid() == 0 else _in_place
        answer = read(fd, config.policy, config.signed)
    except OSError as error:
        return Unseen(f"{path}: cannot be read: {error.strerror}")
    finally:
        os.close(fd)
    return answer.facts or Unseen(answer.reason)


def by_a_child(document: int, source: str, bundle: bool) -> Answer:
    """Have one read it that may do nothing else. Raises OSError."""
    found = memfd.create("policy-facts")
    try:
        done = subprocess.run(
            [*COMMAND, source, "bundle" if bundle else "file"],
            stdin=document,
            stdout=found,
            stderr=subprocess.DEVNULL,
            timeout=TIME_LIMIT,
        )
        if done.returncode != 0:
            return Answer(reason=f"{source}: its reader ended with status {done.returncode}")
        return _answers.decode(os.pread(found, min(os.fstat(found).st_size, _MAX_ANSWER), 0))
    except subprocess.TimeoutExpired:
        return Answer(reason=f"{source}: reading it took more than {TIME_LIMIT:g} s")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Answer(reason=f"{source}: what its reader says makes no sense")
    finally:
        os.close(found)


def _in_place(document: int, source: str, bundle: bool) -> Answer:
    with open(document, "rb", closefd=False) as file:
        return answer(lambda: file.read(MAX_BUNDLE + 1), source, bundle=bundle)


def answer(read: Callable[[], bytes], source: str, *, bundle: bool) -> Answer:
    """Find what there is in what ``read`` gives."""
    try:
        reader = read_bundle if bundle else read_document
        return Answer(examine(reader(read(), source=source), source))
    except RamnetError as error:
        return Answer(reason=str(error))
    except MemoryError:
        return Answer(reason=f"{source}: not enough memory to read it")


def read_bundle(data: bytes, *, source: str) -> Document:
    """The union of what a policy server's bundle holds. Raises PolicyError."""
    documents = unpack(data).documents
    return unite(
        [read_document(each, source=f"{source}/{name}") for name, each in documents.items()]
    )


def examine(document: Document, source: str) -> PolicyFacts:
    """What matters of it. Raises PolicyError for a preset that is none."""
    many = len(document.entries)
    unseen = Unseen(f"its {many} entries are many: `ramnet policy validate`")
    examined = many <= MAX_EXAMINED
    return PolicyFacts(
        source,
        document.enabled,
        many,
        broad=_broad(document) if examined else unseen,
        allowed=_allowed(document) if examined else unseen,
        enforced=document.enforce,
    )


def _allowed(document: Document) -> tuple[str, ...]:
    hosts = [host for use, _ in preset_uses(document) for host in use.hosts]
    return (*hosts, *(entry.text for entry in document.entries if entry.allowed))


def _broad(document: Document) -> tuple[str, ...] | Unseen:
    try:
        remarks = findings(document)
    except RamnetError as error:
        return Unseen(str(error))
    return tuple(f"{each.key}: {each.text}" for each in remarks if each.code in ("broad", "wide"))


def main() -> int:
    """Give up privileges, then read; the exit code."""
    source, kind = sys.argv[1:]
    # Code that root alone may read is loaded before.
    list_presets()
    preset_uses(read_document(b'presets = ["ghcr"]', source=source))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_ANSWER, _MAX_ANSWER))
    confine(GATE_UID, GATE_UID, memory=_MEMORY, cpu_seconds=_CPU_SECONDS)
    told = answer(lambda: sys.stdin.buffer.read(MAX_BUNDLE + 1), source, bundle=kind == "bundle")
    sys.stdout.buffer.write(msgspec.json.encode(told))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
