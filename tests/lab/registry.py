"""docker-registry processes on loopback of inet; nginx stands before them with TLS."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.lab.addresses import IMAGE, PASSWORD, USER, Site
from tests.lab.host import Host
from tests.lab.image import RegistryClient, make_image
from tests.lab.processes import Process

#: bcrypt (cost 5) of `addresses.PASSWORD`: docker-registry's htpasswd takes nothing else.
_HTPASSWD = f"{USER}:$2b$05$Ajuuh/dEFG8ZapqP31pVi.1SNRjJfxJR2ELnZGGv8.TTguv10cDPK\n"


class Registry:
    """One docker-registry with storage of its own.

    Attributes:
        port: where it listens on 127.0.0.1 of inet, plain HTTP.
        storage: its root directory; blobs lie below docker/registry/v2/blobs.
        blobs_redirected: whether clients fetch blobs elsewhere.
    """

    def __init__(self, host: Host, site: Site, port: int, *, login: bool = False,
                 blobs_at: str | None = None) -> None:  # fmt: skip
        """Start it; `blobs_at` is the base URL that clients are redirected to for blobs."""
        self.site = site
        self.port = port
        self.blobs_redirected = blobs_at is not None
        self._host = host
        self._login = login
        directory = host.directory / site.name
        self.storage = directory / "storage"
        self.storage.mkdir(parents=True)
        configuration = _configuration(site, port, self.storage)
        if login:
            (directory / "htpasswd").write_text(_HTPASSWD)
            configuration["auth"] = {
                "htpasswd": {"realm": "lab", "path": str(directory / "htpasswd")}
            }
        if blobs_at:
            redirect = [{"name": "redirect", "options": {"baseurl": blobs_at}}]
            configuration["middleware"] = {"storage": redirect}
        path = directory / "config.yml"
        path.write_text(json.dumps(configuration))  # JSON is YAML
        self.process: Process = host.start(["docker-registry", "serve", str(path)], log=site.name)

    def seed(self) -> None:
        """Wait until it serves, then give it the lab's image."""
        self._host.wait_listening(self.port, self.process)
        repository, tag = IMAGE.split(":")
        client = self.client()
        client.push(make_image(self.site.name), repository, tag)
        client.close()

    def client(self) -> RegistryClient:
        """A client that asks it on loopback, for tests to see what it holds."""
        credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return RegistryClient(
            self._host, self.port, f"Basic {credentials}" if self._login else None
        )

    def tags(self, repository: str) -> list[str]:
        """The tags that a repository has here: proof of what a push has or has not done."""
        client = self.client()
        status, _, body = client.request("GET", f"/v2/{repository}/tags/list")
        client.close()
        return list(json.loads(body).get("tags") or []) if status == 200 else []


def _configuration(site: Site, port: int, storage: Path) -> dict[str, object]:
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "relativeurls": True, "secret": "lab"},
    }
