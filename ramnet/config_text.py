"""The text of ``ramnet.toml``, for ``ramnet hold`` too: it loads nothing else."""

from pathlib import Path
from typing import Final

from ramnet.errors import ConfigError, KernelRefusedError

MAX_BYTES: Final = 16 << 20
_BOM: Final = b"\xef\xbb\xbf"


def read_text(path: Path) -> str:
    """What the file holds, less the mark that editors on Windows begin a file with.

    Raises:
        KernelRefusedError: this user may not read it.
        ConfigError: it cannot be read, is too large or no text.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except PermissionError as error:
        raise KernelRefusedError(
            f"cannot read {path}: {error.strerror}; try again with sudo, or as root"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror} (--config names it)") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB; is it the right file?")
    try:
        return data.removeprefix(_BOM).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line} is not UTF-8 text; save it as UTF-8") from None
