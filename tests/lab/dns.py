"""The DNS servers of inet: dnsmasq, told its names by files that it re-reads when they change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.lab.addresses import Site
from tests.lab.host import Host
from tests.lab.processes import wait_until


class NameServer:
    """One dnsmasq on one address of each family.

    Attributes:
        process: dnsmasq itself.
    """

    def __init__(
        self,
        host: Host,
        where: Site,
        *,
        sites: Iterable[Site],
        aliases: Mapping[str, str],
        others: Site,
        life: int = 60,
    ) -> None:
        """Serve `sites` and `aliases` (CNAMEs); any other name has the addresses of `others`.

        `life` is the time to live of all answers in seconds.
        """
        self._directory = host.directory / f"dns-{where.ipv4}"
        self._directory.mkdir()
        self._log = host.directory / "log" / f"dns-{where.ipv4}.log"
        for site in sites:
            self._write(site.name, site.addresses)
        self.process = host.start(
            ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
             "--no-hosts", f"--hostsdir={self._directory}", f"--local-ttl={life}",
             f"--listen-address={where.ipv4},{where.ipv6}", "--bind-interfaces", "--user=root",
             "--log-queries=extra", "--log-facility=-", "--pid-file=",
             f"--address=/#/{others.ipv4}", f"--address=/#/{others.ipv6}",
             *(f"--cname={alias},{target}" for alias, target in aliases.items())],
            log=f"dns-{where.ipv4}",
        )  # fmt: skip

    def _write(self, name: str, addresses: Iterable[str]) -> None:
        (self._directory / name).write_text("".join(f"{a} {name}\n" for a in addresses))

    def give(self, name: str, *addresses: str) -> None:
        """Let a name have these addresses from now on."""
        seen = len(self._log.read_text())
        self._write(name, addresses)
        read = f"read {self._directory / name} "
        wait_until(f"dnsmasq read {name}", lambda: read in self._log.read_text()[seen:])

    def queries(self) -> list[str]:
        """The lines `query[TYPE] NAME from ADDRESS` it has logged so far."""
        return [line.partition(": ")[2] for line in self._log.read_text().splitlines()
                if " query[" in line]  # fmt: skip
