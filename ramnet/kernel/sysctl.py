"""Kernel parameters of the calling thread's network namespace (sysctl(8) names)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ramnet.errors import KernelRefusedError

_ROOT: Final = Path("/proc/sys")


def read(keys: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Each key that this kernel has, with its value."""
    return tuple((key, int(_path(key).read_text("ascii"))) for key in keys if _path(key).exists())


def write(values: Iterable[tuple[str, int]]) -> None:
    """Set each key that this kernel has.

    Raises:
        KernelRefusedError: one cannot be set.
    """
    for key, value in values:
        path = _path(key)
        try:
            if path.exists() and int(path.read_text("ascii")) != value:
                path.write_text(str(value), encoding="ascii")
        except OSError as error:
            raise KernelRefusedError(f"cannot set {key}: {error.strerror}") from None


def _path(key: str) -> Path:
    return _ROOT / key.replace(".", "/")
