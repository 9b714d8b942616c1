"""Which upstreams a name is asked of: split DNS, the configured ones, or resolv.conf's."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from ramnet import config
from ramnet.config_values import Endpoint, parse_endpoint
from ramnet.gate.resolver.addresses import LINK_LOCAL, AddressRules, pack
from ramnet.gate.resolver.upstreams import Server, Upstreams
from ramnet.wire.dns import from_text, parent_names
from ramnet.wire.resolv_conf import ResolvConf

_PORT: Final = 53
_ROOT: Final = b"\0"


class Zones:
    """Every upstream; the longest matching zone decides, and there is no way round it.

    Servers of a zone that are all dead are not stood in for by the general ones: those would
    learn internal names, and could answer with somebody else's addresses.
    """

    def __init__(self, general: Sequence[Server], zones: Mapping[bytes, Sequence[Server]]) -> None:
        self._zones = {zone: Upstreams(servers) for zone, servers in zones.items()}
        self._zones.setdefault(_ROOT, Upstreams(general))
        self.skipped: dict[str, str] = {}
        """Nameservers of resolv.conf that are not used, and why."""

    @classmethod
    def build(
        cls,
        settings: config.Resolver,
        resolv_conf: ResolvConf,
        rules: AddressRules,
        known: Iterable[Server] = (),
    ) -> "Zones":
        """Servers for these settings; one that is in ``known`` keeps its health."""
        kept = {server.endpoint: server for server in known}

        def server(endpoint: Endpoint) -> Server:
            return kept.setdefault(endpoint, Server(endpoint))

        def configured(texts: Sequence[str]) -> list[Server]:
            return [server(parse_endpoint(text, _PORT)) for text in texts]

        skipped = _unusable(resolv_conf, rules)
        followed = [a for a in resolv_conf.nameservers if a not in skipped]
        general = configured(settings.upstream) or [server(Endpoint(a, _PORT)) for a in followed]
        zones = {from_text(zone): configured(texts) for zone, texts in settings.zones.items()}
        built = cls(general, zones)
        built.skipped = {} if settings.upstream else skipped
        return built

    def upstreams_for(self, name: bytes) -> Upstreams:
        """The upstreams of the longest zone that ``name`` is in."""
        return next(self._zones[zone] for zone in parent_names(name) if zone in self._zones)

    def servers(self) -> Iterator[Server]:
        """Each server once."""
        seen = (server for upstreams in self._zones.values() for server in upstreams.servers)
        return iter(dict.fromkeys(seen))


def _unusable(resolv_conf: ResolvConf, rules: AddressRules) -> dict[str, str]:
    """Those whose own questions would come back to us, with the remedy."""
    reasons = {
        address: rules.unfit(pack(address), local=resolv_conf.by_wsl)
        for address in resolv_conf.nameservers
    }
    return {
        address: f"{reason}: its own questions would come back to us;"
        " name its upstreams as [resolver] upstream"
        for address, reason in reasons.items()
        if reason and reason != LINK_LOCAL
    }
