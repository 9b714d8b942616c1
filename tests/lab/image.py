"""A container image made from busybox, put into a registry by its HTTP API, without dockerd.

Source: Docker Registry HTTP API V2, image manifest version 2 schema 2.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import os
import platform
import socket
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab.host import Host
from tests.lab.processes import LabError

_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
_LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_BUSYBOX = "/bin/busybox"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_APPLETS = ("sh", "cat", "echo", "httpd", "ls", "nc", "nslookup", "ping", "sleep", "true", "wget")


class Image(NamedTuple):
    """A manifest and the blobs that it names, all as the registry keeps them."""

    manifest: bytes
    blobs: tuple[bytes, ...]


def digest(blob: bytes) -> str:
    """Return a blob's name in a registry."""
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _layer(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return packed.getvalue()


def _busybox() -> dict[str, bytes]:
    """busybox and, where it is not the static one, the libraries that ldd(1) names."""
    said = subprocess.run(["ldd", _BUSYBOX], capture_output=True, text=True, check=False).stdout
    paths = [_BUSYBOX, *(word for word in said.split() if word.startswith("/"))]
    return {path.lstrip("/"): Path(path).read_bytes() for path in paths}


def make_image(label: str) -> Image:
    """Make an image of two layers: busybox, and a file /label that tells images apart."""
    links = {f"bin/{applet}": "busybox" for applet in _APPLETS}
    base = _layer(_busybox(), links)
    return _describe([base, _layer({"label": f"{label}\n".encode()}, {})])


def make_large_image(layers: int, size: int) -> Image:
    """Make an image of `layers` layers, `size` bytes each, that no compression makes smaller."""
    random = (_layer({f"file-{number}": os.urandom(size)}, {}) for number in range(layers))
    return _describe(list(random), compress_level=0)


def _describe(layers: Sequence[bytes], compress_level: int = 1) -> Image:
    config = json.dumps({
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": ["cat", "/label"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        "history": [{"created_by": "the ramnet lab"}] * len(layers),
    }).encode()  # fmt: skip
    blobs = [gzip.compress(layer, compresslevel=compress_level, mtime=0) for layer in layers]

    def describe(blob: bytes, media_type: str) -> dict[str, str | int]:
        return {"mediaType": media_type, "size": len(blob), "digest": digest(blob)}

    manifest = json.dumps({
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": describe(config, _CONFIG_TYPE),
        "layers": [describe(blob, _LAYER_TYPE) for blob in blobs],
    }).encode()  # fmt: skip
    return Image(manifest, (config, *blobs))


class RegistryClient:
    """Speaks plain HTTP to a registry on loopback of a host, past every name and certificate."""

    def __init__(self, host: Host, port: int, authorization: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._connection.sock = host.socket(socket.AF_INET)
        self._connection.sock.connect(("127.0.0.1", port))
        self._headers = {"Authorization": authorization} if authorization else {}

    def request(
        self, method: str, path: str, body: bytes = b"", media_type: str = ""
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send one request; return status, headers and body."""
        headers = self._headers | ({"Content-Type": media_type} if media_type else {})
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def push(self, image: Image, repository: str, tag: str) -> None:
        """Put an image into the registry. Raises LabError when it refuses."""
        for blob in image.blobs:
            _, headers, _ = self.request("POST", f"/v2/{repository}/blobs/uploads/")
            location = headers.get("Location", "")
            path = location.partition("://")[2].partition("/")[2] or location[1:]
            sep = "&" if "?" in path else "?"
            upload = f"/{path}{sep}digest={digest(blob)}"
            self._expect(201, self.request("PUT", upload, blob, "application/octet-stream"))
        path = f"/v2/{repository}/manifests/{tag}"
        self._expect(201, self.request("PUT", path, image.manifest, _MANIFEST_TYPE))

    def _expect(self, status: int, got: tuple[int, http.client.HTTPMessage, bytes]) -> None:
        if got[0] != status:
            raise LabError(f"registry answered {got[0]}: {got[2][:500]!r}")

    def close(self) -> None:
        self._connection.close()
