"""The boot-time CA: made once a boot, its key in memory-backed files only.

It signs nothing but certificates for refused names, so that a refusal over TLS can be read.
``ca.pem`` is at a fixed path below the run directory; the key is for the gate's uid alone.
"""

import contextlib
import os
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ramnet.errors import KernelRefusedError, RamnetError
from ramnet.ruleset import GATE_UID

TRUST_STORE: Final = Path("/usr/local/share/ca-certificates/ramnet.crt")
_UPDATE: Final = "update-ca-certificates"
_IN_MEMORY: Final = ("tmpfs", "ramfs")

Create = Callable[[str], tuple[bytes, bytes]]
"""``ramnet.gate.denial.authority.create_authority``: whose CA -> certificate and key, PEM."""


class Authority(NamedTuple):
    """Paths of the PEM files."""

    certificate: Path
    key: Path


def paths(run_dir: Path) -> Authority:
    """Where they are, whether or not they exist."""
    return Authority(run_dir / "ca" / "ca.pem", run_dir / "ca" / "ca.key")


def ensure(run_dir: Path, create: Create) -> Authority:
    """The CA of this boot, made by ``create`` (certificate, key; PEM) if there is none yet.

    The key is the gate's, and root needs CAP_CHOWN for that, unless init has made the directory
    with the gate's group and mode 2755, which files in it take over.

    It carries this machine's name: it is made before any policy, and so any organisation, is
    known.

    Raises RamnetError where the run directory is not memory-backed: such a key would outlive
    the boot, and could be read from the disk.
    """
    authority = paths(run_dir)
    folder = authority.certificate.parent
    if not folder.is_dir():
        folder.mkdir()
        folder.chmod(0o755)
    if (kind := file_system(folder)) not in _IN_MEMORY:
        raise RamnetError(
            f"{folder} is on {kind}, not on memory-backed storage such as tmpfs, so there is no "
            "CA to make refusals over TLS readable"
        )
    if not (authority.certificate.is_file() and authority.key.is_file()):
        certificate, key = create(socket.gethostname())
        # The key first: a certificate that is there stands for a whole pair.
        authority.certificate.unlink(missing_ok=True)
        if folder.stat().st_gid == GATE_UID and folder.stat().st_mode & stat.S_ISGID:
            _write(authority.key, key, mode=0o440)  # of the gate's group by its directory
        else:
            _write(authority.key, key, mode=0o400, owner=GATE_UID)
        _write(authority.certificate, certificate, mode=0o644)
    return authority


def file_system(path: Path) -> str:
    """The type of the file system that holds ``path``, from mountinfo; ``unknown`` if not there."""
    device = path.stat().st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, kind = line.partition(" - ")
        if fields.split()[2] == wanted:
            return kind.split()[0]
    return "unknown"


def installed(pem: bytes, store: Path = TRUST_STORE) -> bool:
    """Whether this machine's trust store was given this certificate."""
    try:
        return store.read_bytes() == pem
    except OSError:
        return False


def install(certificate: Path, store: Path = TRUST_STORE) -> bool:
    """Have this machine trust the CA; False where it did already.

    Raises KernelRefusedError without the privilege, RamnetError when the store's own tool fails.
    """
    pem = certificate.read_bytes()
    with _privileged(store):
        if installed(pem, store):
            return False
        store.parent.mkdir(parents=True, exist_ok=True)
        _write(store, pem, mode=0o644)
    _update_store()
    return True


def uninstall(store: Path = TRUST_STORE) -> bool:
    """Have this machine trust the CA no more; False where it did not."""
    with _privileged(store):
        if not store.exists():
            return False
        store.unlink()
    _update_store("--fresh")
    return True


def remove(run_dir: Path) -> None:
    """Delete certificate and key."""
    for path in paths(run_dir):
        with _privileged(path):
            path.unlink(missing_ok=True)


def _write(path: Path, content: bytes, *, mode: int, owner: int | None = None) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        if owner is not None:
            os.fchown(fd, owner, owner)
        os.fchmod(fd, mode)
    temporary.replace(path)


@contextlib.contextmanager
def _privileged(path: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise KernelRefusedError(f"{path}: {error.strerror}; run this as root") from error
    except OSError as error:  # a read-only root, a full disk
        raise RamnetError(f"{path}: {error.strerror}") from error


def _update_store(*arguments: str) -> None:
    try:
        done = subprocess.run([_UPDATE, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise RamnetError(
            f"{_UPDATE} is not installed (Debian: apt install ca-certificates); add the "
            "certificate to this machine's trust store by its own means"
        ) from error
    if done.returncode:
        raise RamnetError(f"{_UPDATE} failed: {(done.stderr or done.stdout).strip()[-300:]}")
