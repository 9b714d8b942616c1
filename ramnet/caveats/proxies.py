"""Pure: which of dockerd's own proxies ramnet does not know, and how to adopt them.

Left alone such a proxy stands idle: the gate answers the CONNECT that is meant for it and dials
the name by itself, which fails where the parent is the only way out.
"""

from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from ramnet.caveats.facts import DockerProxy
from ramnet.config import Proxy
from ramnet.config_values import parse_endpoint

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080}


def unknown_proxies(found: Iterable[DockerProxy], proxy: Proxy) -> list[str]:
    """A sentence for each proxy that is neither in ``explicit`` nor ``parent``."""
    known = {tuple(parse_endpoint(text)) for text in proxy.explicit}
    if proxy.parent is not None:
        known.add(_address(proxy.parent))
    unknown: dict[tuple[str, int], str] = {}
    for docker in found:
        address = _address(docker.url)
        if address not in known:
            unknown.setdefault(address, _sentence(docker, address))
    return list(unknown.values())


def _address(url: str) -> tuple[str, int]:
    parts = _split(url)
    try:
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        host, port = "", None
    return (
        "127.0.0.1" if host == "localhost" else host,
        port or _DEFAULT_PORTS.get(parts.scheme, 0),
    )


def _split(url: str) -> SplitResult:
    # Docker takes "host:port" for http, as net/http does.
    try:
        return urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return SplitResult("", "", "", "", "")


def _sentence(docker: DockerProxy, address: tuple[str, int]) -> str:
    host, port = address
    host = "".join(c if c.isprintable() else "?" for c in host)[:255]
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    parts = _split(docker.url)
    named = f"{docker.where} names the proxy {authority}, which ramnet does not know"
    if parts.scheme not in ("http", "https"):
        return f"{named} and which can be no parent; use an HTTP proxy, or remove it"
    return (
        f'{named}; to go on through it, set [proxy] parent = "{parts.scheme}://{authority}" '
        "(with its credentials, if it wants any)"
    )
