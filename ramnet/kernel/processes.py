"""Facts about the processes in view and the sockets of a network namespace, from /proc."""

import contextlib
import re
import socket
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ramnet.caveats.facts import Listener, Process, Sockets, Unseen
from ramnet.errors import RamnetError
from ramnet.kernel.docker import is_dockerd, read_bounded
from ramnet.kernel.netns import Namespace

_PROC: Final = Path("/proc")
_CAPABILITIES: Final = {"NET_ADMIN": 12, "NET_RAW": 13}
"""Numbers of capabilities(7)."""
_SYS_PTRACE: Final = 19
_LISTEN: Final = "0A"
_SOCKET_LINK: Final = re.compile(r"socket:\[(\d+)\]")


def sees_all(proc: Path = _PROC) -> bool:
    """Whether this process may look at every other one, however /proc is mounted (hidepid=)."""
    return bool(int(_status(proc / "self")["CapEff"], 16) >> _SYS_PTRACE & 1)


def gather_processes(own: Collection[int], proc: Path = _PROC) -> tuple[Process, ...] | Unseen:
    """Every process but kernel threads, those of ``own`` and their children.

    Half a list would look like a whole one: where one may not be looked at, there is none.
    """
    ours = _link(proc / "self" / "ns" / "user")
    found = []
    for directory in sorted(proc.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            process = _process(directory, own, ours, proc) if _is_program(directory) else None
        except PermissionError as error:
            return Unseen(f"process {directory.name}: {error.strerror}")
        except (OSError, KeyError, ValueError):
            continue  # it ended meanwhile
        if process is not None:
            found.append(process)
    return tuple(found)


def _is_program(directory: Path) -> bool:
    """A kernel thread has no program (proc_pid_exe(5))."""
    try:
        (directory / "exe").readlink()
    except FileNotFoundError:
        return False
    return True


def _process(directory: Path, own: Collection[int], ours: str, proc: Path) -> Process | None:
    status = _status(directory)
    pid, parent = int(directory.name), int(status["PPid"])
    if pid in own or parent in own:
        return None
    effective = int(status["CapEff"], 16)
    # A capability counts for what belongs to the user namespace that it is held in.
    here = _link(directory / "ns" / "user") == ours
    return Process(
        pid=pid,
        name=status["Name"],
        uid=int(status["Uid"].split()[1]),
        netns=(directory / "ns" / "net").stat().st_ino,
        cgroup=_cgroup(directory),
        capabilities=tuple(
            name for name, bit in _CAPABILITIES.items() if here and effective >> bit & 1
        ),
        child_of_docker=is_dockerd(proc / str(parent)),
    )


def _status(directory: Path) -> dict[str, str]:
    lines = (directory / "status").read_text(errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _cgroup(directory: Path) -> str:
    for line in read_bounded(directory / "cgroup").decode(errors="replace").splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return ""


def _link(path: Path) -> str:
    return str(path.readlink())


def gather_sockets(
    netns: str, inode: int, processes: Collection[Process], own: Collection[int]
) -> Sockets | Unseen:
    """Listening and packet sockets of a network namespace that are not of ``own``."""
    try:
        namespace = Namespace(netns)
    except RamnetError as error:
        return Unseen(str(error))
    try:
        rows = namespace.call(_read_tables)
    finally:
        namespace.close()
    inside = {p.pid: p for p in processes if p.netns == inode}
    owners = _owners([*own, *inside])
    listeners, packets = set(), []
    for row in rows:
        pids = owners.get(row.inode, set())
        if pids & set(own):
            continue
        process = next((inside[pid] for pid in sorted(pids)), None)
        if row.address is None:
            packets.append(process)
        else:
            listeners.add(Listener(row.address, row.port, process))
    ordered = sorted(listeners, key=lambda each: (each.port, each.address))
    return Sockets(tuple(ordered), tuple(packets))


@dataclass(frozen=True, slots=True)
class _Row:
    """A socket; a packet socket has no address."""

    inode: int
    address: str | None = None
    port: int = 0


def _read_tables() -> list[_Row]:
    """In the calling thread's network namespace (proc_pid_net(5))."""
    here = _PROC / "thread-self" / "net"
    rows = [row for table in ("tcp", "tcp6") for row in _tcp(here / table)]
    return rows + list(_packet(here / "packet"))


def _tcp(path: Path) -> Iterator[_Row]:
    for fields in _fields(path):
        if len(fields) > 9 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield _Row(int(fields[9]), _address(bytes.fromhex(address)), int(port, 16))


def _packet(path: Path) -> Iterator[_Row]:
    for fields in _fields(path):
        if len(fields) > 8:
            yield _Row(int(fields[8]))


def _fields(path: Path) -> Iterator[list[str]]:
    with contextlib.suppress(FileNotFoundError), path.open(encoding="ascii") as file:
        next(file, None)
        for line in file:
            yield line.split()


def _address(words: bytes) -> str:
    """The kernel prints each 32-bit word in the order of the machine."""
    step = -1 if sys.byteorder == "little" else 1
    ordered = b"".join(words[at : at + 4][::step] for at in range(0, len(words), 4))
    family = socket.AF_INET if len(ordered) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, ordered)


def _owners(pids: Collection[int]) -> dict[int, set[int]]:
    """Inodes of sockets -> processes that have them open."""
    owners: dict[int, set[int]] = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in (_PROC / str(pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if match := _SOCKET_LINK.fullmatch(_link(descriptor)):
                        owners.setdefault(int(match[1]), set()).add(pid)
    return owners
