"""The directories of the service, and the lock that lets only one service use them."""

import fcntl
import os
from pathlib import Path
from typing import Final

from ramnet.config import Config
from ramnet.errors import KernelRefusedError, RamnetError
from ramnet.ruleset import GATE_UID

SERVICE_LOG: Final = "service.jsonl"


def events_dir(config: Config) -> Path:
    """Where the gates keep their audit logs, one for each scope; theirs to write."""
    return Path(config.state_dir) / "events"


def event_log(config: Config, scope: str) -> Path:
    """The audit log of one scope's gate."""
    return events_dir(config) / f"{scope}.jsonl"


def service_log(config: Config) -> Path:
    """The audit log of the supervisor; in a directory that only root can write to."""
    return Path(config.state_dir) / SERVICE_LOG


def event_logs(config: Config) -> list[Path]:
    """All audit logs that there are or will be."""
    return [service_log(config), *(event_log(config, scope.name) for scope in config.scopes)]


def make_run_directory(config: Config) -> None:
    """Make what the lock and the boot's authority need. Raises KernelRefusedError."""
    try:
        _make(config.run_dir, 0o755)
    except OSError as error:
        raise KernelRefusedError(f"cannot make {error.filename}: {error.strerror}") from error


def make_state_directories(config: Config) -> str | None:
    """Make what is kept over a boot; why it cannot be, in words.

    No reason to be without rules: on a full or read-only disk events and the last good policy
    are not kept, and everything else is enforced.
    """
    try:
        _make(Path(config.state_dir), 0o755)
        events = events_dir(config)
        _make(events, 0o750)
        if events.lstat().st_uid != GATE_UID:  # init may have made it, and we be without CAP_CHOWN
            os.chown(events, GATE_UID, GATE_UID, follow_symlinks=False)
    except OSError as error:
        return f"cannot make {error.filename}: {error.strerror}; events are lost"
    return None


def _make(path: Path, mode: int) -> None:
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(mode)  # whatever the umask says


class Lock:
    """Held by the one service (or ``down``) of a run directory; let go when it ends, however."""

    def __init__(self, run_dir: Path) -> None:
        """Raises RamnetError naming who holds it, KernelRefusedError without privilege."""
        path = run_dir / "lock"
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            # Whoever may read it may lock it (flock(2)), and then no service could start.
            os.fchmod(self._fd, 0o600)
        except OSError as error:
            raise KernelRefusedError(f"cannot open {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise RamnetError(f"ramnet runs already (pid {holder}, lock {path})") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        os.close(self._fd)
