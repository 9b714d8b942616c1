"""Containers and networks of one dockerd, as covering them needs it.

Asked in ways that wait for no container's lock: ``GET /containers/ID/json`` is answered only when
a start that is under way has ended (daemon.ContainerInspect, 20.10), and that would be too late.
The list is Docker's snapshot, and a network tells its endpoints as they are.
"""

import ipaddress
from typing import Final

import msgspec

from ramnet.caveats.cover import Attached, Network
from ramnet.caveats.facts import Container
from ramnet.kernel.docker_api import DockerApi, DockerApiError

_NOT_FOUND: Final = 404
_BRIDGE_NAME: Final = "com.docker.network.bridge.name"


class _HostConfig(msgspec.Struct, frozen=True, rename="pascal"):
    network_mode: str = ""


class _Settings(msgspec.Struct, frozen=True, rename="pascal"):
    networks: dict[str, msgspec.Raw] | None = None


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    names: list[str] | None = None
    image: str = ""
    labels: dict[str, str] | None = None
    state: str = ""
    host_config: _HostConfig = _HostConfig()
    network_settings: _Settings = _Settings()


class _Endpoint(msgspec.Struct, frozen=True):
    ipv4: str = msgspec.field(name="IPv4Address", default="")
    ipv6: str = msgspec.field(name="IPv6Address", default="")


class _Network(msgspec.Struct, frozen=True, rename="pascal"):
    id: str
    name: str
    driver: str = ""
    options: dict[str, str] | None = None
    containers: dict[str, _Endpoint] | None = None


def attached_containers(api: DockerApi) -> list[Attached]:
    """All containers, running or not. Raises DockerApiError."""
    return [_attached(each) for each in api.get("/containers/json?all=1", list[_Listed])]


def container_networks(api: DockerApi) -> list[Network]:
    """All networks; those on a bridge with what is attached to them. Raises DockerApiError."""
    found = []
    for each in api.get("/networks", list[_Network]):
        if each.driver == "bridge" and each.id.isalnum():
            try:
                found.append(_network(api.get(f"/networks/{each.id}", _Network)))
            except DockerApiError as error:
                if error.status != _NOT_FOUND:  # else it went meanwhile
                    raise
        else:
            found.append(Network(each.name, each.driver, None, identity=each.id))
    return found


def _attached(said: _Listed) -> Attached:
    names = [name.lstrip("/") for name in said.names or () if name.count("/") == 1]
    container = Container(
        identity=said.id,
        name=names[0] if names else said.id[:12],
        image=said.image,
        running=said.state == "running",
        labels=tuple((said.labels or {}).items()),
    )
    networks = frozenset(said.network_settings.networks or ())
    return Attached(container, said.host_config.network_mode, networks)


def _network(said: _Network) -> Network:
    bridge = (said.options or {}).get(_BRIDGE_NAME) or f"br-{said.id[:12]}"
    ends = {
        identity: tuple(filter(None, map(_address, (end.ipv4, end.ipv6))))
        for identity, end in (said.containers or {}).items()
    }
    return Network(said.name, said.driver, bridge, ends, said.id)


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_interface(text).ip) if text else ""
    except ValueError:
        raise DockerApiError(f"an address makes no sense: {text[:50]!r}") from None
