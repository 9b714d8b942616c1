"""What a fleet costs one static server: ``python -m tests.trust.fleet [--machines N]``.

Each simulated machine makes the requests that the real client makes (learnt from one real fetch
of each kind) with the real fetcher, over a TLS connection of its own, to one nginx. Times of
asking are drawn by the service's own rule in virtual time, so that staleness needs no hours.
Not in the suite: it takes minutes.
"""

import argparse
import random
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import create_connection, create_server
from typing import NamedTuple

import trustme
from tuf.api.exceptions import DownloadHTTPError

from ramnet.daemon.schedule import Schedule
from ramnet.trust.client import Source, fetch
from ramnet.trust.fetcher import HttpsFetcher
from ramnet.trust.keys import KeyFolder
from ramnet.trust.names import BASE
from ramnet.trust.publisher import Repository
from ramnet.trust.roots import generate

_NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{ access_log off; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
  fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port} ssl; root {folder}/site;
    ssl_certificate {folder}/pem; ssl_certificate_key {folder}/key; }} }}
"""


class Cost(NamedTuple):
    """Of one kind of fetch."""

    paths: list[str]
    etag: str
    timestamp: bytes
    received: int


class Server:
    """nginx before a repository with one policy of ``entries`` hosts."""

    def __init__(self, folder: Path, entries: int) -> None:
        self.folder = folder
        self._keys, self._entries = KeyFolder(folder / "keys"), entries
        self.root = generate(self._keys).root.to_bytes()
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(folder / "key"))
        issued.cert_chain_pems[0].write_to_path(str(folder / "pem"))
        self.context = ssl.create_default_context()
        authority.configure_trust(self.context)
        with create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.publish(1)
        (folder / "conf").write_text(_NGINX.format(folder=folder, port=self.port))
        self.process = subprocess.Popen(["nginx", "-e", "stderr", "-c", str(folder / "conf")])
        self._wait()

    def publish(self, version: int) -> None:
        listed = "".join(f'[[registry]]\nhost = "r{n}.example"\n' for n in range(self._entries))
        document = f"version = {version}\n{listed}".encode()
        Repository(self.folder / "site", self._keys).publish({BASE: document})

    def fetcher(self, timestamp: bytes = b"", etag: str = "") -> HttpsFetcher:
        return HttpsFetcher(
            lambda host, port: create_connection((host, port), 60), self.context,
            deadline=time.monotonic() + 600, timestamp=timestamp, etag=etag,
        )  # fmt: skip

    def _wait(self) -> None:
        while True:
            try:
                create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)


class Recorder(HttpsFetcher):
    """Remembers what the client asked for."""

    paths: list[str]

    def _fetch(self, url: str):  # type: ignore[no-untyped-def]
        self.paths.append(url)
        return super()._fetch(url)


def learn(server: Server) -> dict[str, Cost]:
    """Fetch for real: at first, with nothing new, and after a change."""
    source = Source(f"https://127.0.0.1:{server.port}", server.root)
    costs, kept = {}, None
    for kind in ("first", "unchanged", "changed"):
        if kind == "changed":
            server.publish(2)
        timestamp = kept.metadata["timestamp.json"] if kept else b""
        etag = kept.etag if kept else ""
        fetcher = server.fetcher(timestamp, etag)
        fetcher.__class__ = Recorder
        assert isinstance(fetcher, Recorder)
        fetcher.paths = []
        kept = fetch(source, kept, fetcher, time.time()).bundle
        fetcher.close()
        costs[kind] = Cost(fetcher.paths, etag, timestamp, fetcher.received)
    return costs


def machine(server: Server, cost: Cost) -> int:
    """One machine's fetch; bytes of bodies."""
    fetcher = server.fetcher(cost.timestamp, cost.etag)
    for url in cost.paths:
        try:
            fetcher.download_bytes(url, 1 << 30)
        except DownloadHTTPError:
            continue
    fetcher.close()
    return fetcher.received


def staleness(machines: int, refresh: float) -> Sequence[float]:
    """Seconds from a publication to each machine's next fetch, in virtual time."""
    chance = random.Random(7)
    schedule, found = Schedule(refresh, chance.uniform), []
    for _ in range(machines):
        at = chance.uniform(0, refresh)  # when it was started
        while at < 50 * refresh:
            at += schedule.wait()
        found.append(at - 50 * refresh)
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--machines", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=1000)
    parser.add_argument("--refresh", type=float, default=3600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name), options.entries)
        try:
            report(server, options.machines, options.refresh)
        finally:
            server.process.terminate()
            server.process.wait()


def report(server: Server, machines: int, refresh: float) -> None:
    costs = learn(server)
    for kind, cost in costs.items():
        if kind == "unchanged":
            timestamp = (server.folder / "site/metadata/timestamp.json").read_bytes()
            probe = server.fetcher()
            probe.download_bytes(next(p for p in cost.paths if "timestamp" in p), 1 << 20)
            cost = cost._replace(timestamp=timestamp, etag=probe.etag)
            probe.close()
        began = time.monotonic()
        with ThreadPoolExecutor(32) as pool:
            bodies = sum(pool.map(lambda _, cost=cost: machine(server, cost), range(machines)))
        took = time.monotonic() - began
        requests = len(cost.paths) * machines
        print(
            f"{kind:<10} {machines} machines: {requests} requests, {bodies / 1e6:.1f} MB of "
            f"bodies, {took:.0f} s here ({requests / took:.0f} requests/s)"
        )
    found = staleness(machines, refresh)
    print(
        f"staleness  refresh {refresh:.0f} s: median {statistics.median(found):.0f} s, "
        f"99 % {found[int(0.99 * machines)]:.0f} s, worst {found[-1]:.0f} s"
    )
    rate = 1e6 * len(costs["unchanged"].paths) / (refresh * 0.95)
    change = costs["changed"]
    print(
        f"a million  {rate:.0f} requests/s on {rate / 2:.0f} new connections/s; a change costs "
        f"{1e6 * change.received / 1e9:.0f} GB over one refresh, "
        f"{8e6 * change.received / refresh / 1e6:.0f} Mbit/s"
    )


if __name__ == "__main__":
    main()
