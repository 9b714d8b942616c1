"""Single values of ``ramnet.toml``: addresses with ports, durations, paths, a proxy's URL.

Each is read, or refused with its key; which table has which value stands in ``config``.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_SUN_PATH_MAX: Final = 107  # struct sockaddr_un, less its NUL (unix(7))


class Endpoint(NamedTuple):
    """An IP address and a port."""

    address: str
    port: int


def parse_endpoint(text: str, default_port: int | None = None) -> Endpoint:
    """``192.0.2.1``, ``192.0.2.1:53``, ``2001:db8::1`` or ``[2001:db8::1]:53``.

    Raises ValueError for a name, a port out of range, or no port where there is no default.
    """
    host, port = text, ""
    if match := re.fullmatch(r"\[(.*)\](?::(\d+))?|([^:]*):(\d+)", text):
        host, port = match[1] or match[3] or "", match[2] or match[4] or ""
    address = str(ipaddress.ip_address(host))
    if not port and default_port is None:
        raise ValueError(f"{text!r} names no port")
    number = int(port) if port else int(default_port or 0)
    if not 0 < number < 65536:
        raise ValueError(f"{text!r} has no port between 1 and 65535")
    return Endpoint(address, number)


def checked(key: str, text: str, parse: Callable[[str], object]) -> None:
    """Run a parser for its refusal alone, and say which key it was."""
    try:
        parse(text)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def duration(key: str, value: int | str) -> float:
    """``90``, ``90s``, ``15m`` or ``1h`` in seconds. Raises ValueError, naming ``key``."""
    match = re.fullmatch(r"(\d{1,9})([smh]?)", str(value))
    if match is None:
        raise ValueError(f"{key}: {value!r} is no duration such as 90, 90s, 15m or 1h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def check_absolute(key: str, path: str | None) -> None:
    """Raises ValueError."""
    if path is not None and (not path.startswith("/") or "\0" in path):
        raise ValueError(f"{key}: {path!r} is not an absolute path")


def check_cgroup(path: str | None) -> None:
    """It neither leaves the cgroup root nor ends a string of nft's. Raises ValueError."""
    if path is None:
        return
    parts = path.strip("/").split("/")
    if any(p in ("", ".", "..") for p in parts) or '"' in path or not path.isprintable():
        raise ValueError(f"cgroup {path!r} is no path below the cgroup root")


def check_name(key: str, name: str, *, as_compared: bool = False) -> None:
    """A host name; ``as_compared`` in the one spelling that names are compared in.

    Raises ValueError.
    """
    from ramnet.policy.name import InvalidNameError, normalise  # idna with it, for who has names

    try:
        spelt = normalise(name)
    except InvalidNameError as error:
        raise ValueError(f"{key}: {error}") from None
    if as_compared and spelt != name.lower():
        raise ValueError(f"{key}: {name!r} must be written {spelt!r}")


def check_host(key: str, text: str) -> None:
    """What ``host`` of a policy may be. Raises ValueError."""
    from ramnet.policy.name import InvalidNameError
    from ramnet.policy.pattern import parse_host

    try:
        parse_host(text)
    except InvalidNameError as error:
        raise ValueError(f"{key}: {error}") from None


def is_address(text: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_socket_path(key: str, path: str) -> None:
    """Raises ValueError."""
    if len(path.encode()) > _SUN_PATH_MAX:
        raise ValueError(f"{key}: longer than {_SUN_PATH_MAX} bytes")


def check_parent(parent: str) -> None:
    """Raises ValueError."""
    # The URL may carry a password, so it is not repeated in the message.
    try:
        url = urlsplit(parent)
        valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        valid = False
    if not valid or url.path not in ("", "/") or url.query or url.fragment:
        raise ValueError("parent: expected http[s]://[USER:PASSWORD@]HOST[:PORT]")
