"""``[[exempt]]`` of ``ramnet.toml`` in the words of the rules: users and cgroups looked up."""

import pwd

from ramnet import ruleset
from ramnet.config import Exempt
from ramnet.errors import ConfigError
from ramnet.kernel import cgroup


def read_exemption(exempt: Exempt) -> ruleset.Exemption:
    """As the planner takes it.

    Raises:
        ConfigError: its user or its cgroup does not exist.
    """
    group, level = _cgroup(exempt.cgroup)
    return ruleset.Exemption(
        uid=_uid(exempt.uid),
        cgroup=group,
        cgroup_level=level,
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


def _cgroup(path: str | None) -> tuple[str | None, int]:
    """The cgroup as nft names it, and its level."""
    if path is None:
        return None, 1
    mount = cgroup.cgroup2_mount()
    directory = None if mount is None else cgroup.place(path, mount)
    if mount is None or directory is None or not directory.is_dir():
        raise ConfigError(f"exempt: there is no cgroup {path!r} on this machine")
    return cgroup.nft_path(directory), len(directory.relative_to(mount).parts)
