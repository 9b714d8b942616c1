"""``[[exempt]]`` of ``ramnet.toml`` in the words of the rules: users and cgroups looked up."""

import pwd
from pathlib import Path

from ramnet import ruleset
from ramnet.config import Exempt
from ramnet.errors import ConfigError
from ramnet.kernel import cgroup


def read_exemption(exempt: Exempt) -> ruleset.Exemption:
    """As the planner takes it.

    Raises:
        ConfigError: its user or its cgroup does not exist.
    """
    return ruleset.Exemption(
        uid=_uid(exempt.uid),
        cgroup=_nft_cgroup(exempt.cgroup),
        cgroup_level=len(Path(exempt.cgroup).parts) if exempt.cgroup else 1,
        proto=exempt.proto,
        port=exempt.port,
        address=exempt.address,
    )


def _uid(user: str | int | None) -> int | None:
    if user is None or isinstance(user, int):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(f"exempt: there is no user {user!r} on this machine") from None


def _nft_cgroup(path: str | None) -> str | None:
    if path is None:
        return None
    mount = cgroup.cgroup2_mount()
    directory = None if mount is None else mount / path
    if directory is None or not directory.is_dir():
        raise ConfigError(f"exempt: there is no cgroup {path!r} on this machine")
    return cgroup.nft_path(directory)
