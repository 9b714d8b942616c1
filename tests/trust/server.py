"""A static HTTPS server, and lies that it can be told to tell."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme


class Server:
    """Serves a folder; ``lies`` by file name are told instead.

    Attributes:
        asked: the path of every request.
        not_modified: how many were answered with 304.
    """

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.folder = folder
        self.lies: dict[str, bytes] = {}
        self.cut: set[str] = set()
        """File names of which less comes than is announced."""
        self.moved: dict[str, str] = {}
        """File names for which clients are sent elsewhere."""
        self.down = False
        self.go = threading.Event()
        """While it is not set, nobody is answered."""
        self.go.set()
        self.asked: list[str] = []
        self.not_modified = 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.socket = context.wrap_socket(
            self._http.socket, server_side=True, do_handshake_on_connect=False
        )
        self.port = int(self._http.server_address[1])
        self.url = f"https://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.go.wait(60)
                name = self.path.rpartition("/")[2]
                path = server.folder / self.path.lstrip("/")
                body = server.lies.get(name)
                if body is None and path.is_file():
                    body = path.read_bytes()
                if name in server.moved:
                    self._answer(302, b"", "", location=server.moved[name])
                    return
                if server.down or body is None:
                    self._answer(503 if server.down else 404, b"no", "")
                    return
                etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
                if self.headers.get("If-None-Match") == etag:
                    server.not_modified += 1
                    self._answer(304, b"", etag)
                    return
                self._answer(200, body, etag, cut=name in server.cut)

            def _answer(
                self, status: int, body: bytes, etag: str, *, cut: bool = False, location: str = ""
            ) -> None:
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", str(len(body)))
                if etag:
                    self.send_header("ETag", etag)
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if cut else body)
                self.close_connection |= cut

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def serving(folder: Path, authority: trustme.CA) -> Iterator[Server]:
    server = Server(folder, authority)
    try:
        yield server
    finally:
        server.close()
