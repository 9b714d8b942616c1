"""Where the documents of a repository are: target paths."""

import re
from typing import Final

from ramnet.errors import RamnetError

BASE: Final = "policy.toml"
"""The document that is for everybody."""
_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def group_path(group: str) -> str:
    """The target for one group of people. Raises RamnetError for what is no group's name."""
    if not _GROUP.fullmatch(group):
        raise RamnetError(f"{group!r} is no name of a group: letters, digits and . _ - it may have")
    return f"policies/{group}.toml"
