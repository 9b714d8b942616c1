"""HTTPS for python-tuf over a socket that the caller dials: one connection, limits, conditions."""

import http.client
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient.fetcher import FetcherInterface

from ramnet.trust.attacks import TruncatedError

READ_TIME: Final = 15.0
"""Seconds of silence after which a server is given up."""
TIMESTAMP: Final = "timestamp.json"
_CHUNK: Final = 64 * 1024

Dial = Callable[[str, int], socket.socket]
"""A connected, blocking socket to host and port. Raises OSError."""


class _TimedSocket(ssl.SSLSocket):
    """One whose every read ends by the deadline, however little comes at a time."""

    deadline = math.inf

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        self.settimeout(_time_left(self.deadline))
        return super().recv_into(*arguments, **options)


def _time_left(deadline: float) -> float:
    """Until then, and no more than a server may be silent. Raises TimeoutError."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return min(left, READ_TIME)


class HttpsFetcher(FetcherInterface):
    """Fetches from one server; ``deadline`` (of time.monotonic) is for all of it."""

    def __init__(
        self, dial: Dial, context: ssl.SSLContext, *, deadline: float, timestamp: bytes, etag: str
    ) -> None:
        """``timestamp`` with ``etag`` stands where the server says that it has not changed."""
        self._dial, self._context, self._deadline = dial, context, deadline
        context.sslsocket_class = _TimedSocket
        self._timestamp, self.etag = timestamp, etag
        self._connection: http.client.HTTPSConnection | None = None
        self.file = ""
        """What was asked for last."""
        self.requests = self.received = 0
        """Requests made, and bytes of bodies."""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    def _fetch(self, url: str) -> Iterator[bytes]:
        parts = urlsplit(url)
        self.file = parts.path.rpartition("/")[2]
        host, port = parts.hostname or "", parts.port or 443
        headers = {"User-Agent": "ramnet", "Accept-Encoding": "identity"}
        conditional = self.file == TIMESTAMP and bool(self.etag and self._timestamp)
        if conditional:
            headers["If-None-Match"] = self.etag
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            response = self._ask(host, port, target, headers)
            return self._read(response, conditional)
        except TimeoutError:
            raise self._slow() from None
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(_words(error)) from error

    def _ask(
        self, host: str, port: int, target: str, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        """A connection that the server has closed meanwhile is opened once more."""
        for fresh in (self._connection is None, True):
            connection = self._connection = self._connection or self._open(host, port)
            self.requests += 1
            try:
                connection.request("GET", target, headers=headers)
                return connection.getresponse()
            except (ConnectionError, http.client.BadStatusLine):
                connection.close()
                self._connection = None
                if fresh:
                    raise
        raise AssertionError

    def _open(self, host: str, port: int) -> http.client.HTTPSConnection:
        raw = self._reach(host, port)
        try:
            raw.settimeout(_time_left(self._deadline))
            secured = self._context.wrap_socket(raw, server_hostname=host)
            assert isinstance(secured, _TimedSocket)
            secured.deadline = self._deadline
        except BaseException:
            raw.close()
            raise
        connection = http.client.HTTPSConnection(host, port, context=self._context)
        connection.sock = secured
        return connection

    def _reach(self, host: str, port: int) -> socket.socket:
        try:
            return self._dial(host, port)
        except TimeoutError as error:  # nobody is there, which is not slow
            raise DownloadError(_words(error)) from error

    def _slow(self) -> SlowRetrievalError:
        late = time.monotonic() >= self._deadline
        return SlowRetrievalError("it took too long" if late else "the server fell silent")

    def _read(self, response: http.client.HTTPResponse, conditional: bool) -> Iterator[bytes]:
        if response.status == http.client.NOT_MODIFIED and conditional:
            response.read()
            return iter([self._timestamp])
        if response.status != http.client.OK:
            self._pass_over(response)
            raise DownloadHTTPError(_status(response.status), response.status)
        if self.file == TIMESTAMP:
            self.etag = response.headers.get("ETag", "")[:200]
        return self._chunks(response)

    def _pass_over(self, response: http.client.HTTPResponse) -> None:
        """The body of an error: a short one is read, so that the connection stays of use."""
        if response.length is not None and response.length <= _CHUNK:
            response.read()
        else:
            self.close()
            self._connection = None

    def _chunks(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        while True:
            try:
                piece = response.read1(_CHUNK)
            except http.client.IncompleteRead:
                raise TruncatedError("it ended early") from None
            except TimeoutError:
                raise self._slow() from None
            except (OSError, http.client.HTTPException) as error:
                raise DownloadError(_words(error)) from error
            if not piece:
                break
            self.received += len(piece)
            yield piece
        if response.length:
            raise TruncatedError("it ended early")
        response.close()  # read1 leaves it open at its very end; the connection stays


class KeptFetcher(FetcherInterface):
    """Gives what was kept, so that it is verified by the rules for what is fetched."""

    def __init__(self, timestamp: bytes) -> None:
        self._timestamp = timestamp
        self.file = ""

    def _fetch(self, url: str) -> Iterator[bytes]:
        self.file = urlsplit(url).path.rpartition("/")[2]
        if self.file == TIMESTAMP:
            return iter([self._timestamp])
        raise DownloadHTTPError("it is not kept", http.client.NOT_FOUND)


def _status(status: int) -> str:
    follows = " and would send us elsewhere, which is not followed" if 300 <= status < 400 else ""
    return f"the server says {status}{follows}"


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return str(error) or type(error).__name__
