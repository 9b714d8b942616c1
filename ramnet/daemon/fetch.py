"""The child that asks a server for the policy: unprivileged, limited, and gone afterwards.

``python -I -m ramnet.daemon.fetch``: an ``Order`` as JSON on stdin, a ``Report`` as JSON on stdout.
What the server sends is read here alone. The child goes the way that the gate goes: the gate's
cgroup and uid, by which the rules let it out of the scope's network namespace; names resolved by
the gate's own resolver, and the corporate proxy where one is configured.

Privileges go before the first byte is sent. It works in a temporary folder of its own, which needs
no capability to make and none to take away.
"""

import argparse
import asyncio
import contextlib
import importlib
import os
import shutil
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from typing import Final, TypeVar

import msgspec
from tuf.api.exceptions import DownloadError

from ramnet.audit import Event
from ramnet.daemon.fetch_order import Order, Report
from ramnet.errors import PolicyError, RamnetError
from ramnet.gate import outward
from ramnet.gate.judge import Judge
from ramnet.gate.proxy.destination import Nearness
from ramnet.gate.proxy.dial import DialError, Dialler
from ramnet.gate.proxy.parent import Upstreams
from ramnet.gate.resolver import Resolver
from ramnet.kernel import cgroup, netns
from ramnet.kernel.libc import set_no_new_privs
from ramnet.kernel.process import confine
from ramnet.policy import Policy
from ramnet.ruleset import GATE_UID
from ramnet.trust.attacks import RefusedError
from ramnet.trust.bundle import MAX_BUNDLE, Bundle, pack, pack_documents, unpack
from ramnet.trust.client import Source, Verified, fetch, verify
from ramnet.trust.fetcher import HttpsFetcher
from ramnet.trust.session import MAX_TOKEN, Kept, verify_token

MEMORY: Final = 4 << 30
CPU_SECONDS: Final = 60
MAX_KEYS: Final = 1 << 20
"""Bytes of a JWKS."""
_T = TypeVar("_T")
_PREFIX: Final = "ramnet-fetch-"
_LATE: Final = (
    "tuf.api.serialization.json",
    "encodings.idna",
    "http.cookies",
    "stringprep",
    "joserfc.jwt",
    "joserfc.jwk",
)
"""Imported by libraries when they are first needed, when this uid may not read them any more."""


class _Silence:
    """Takes the place of the gate's audit log."""

    def write(self, event: Event) -> None:
        """Nothing."""


def main(arguments: list[str]) -> int:
    """Do what stdin orders; what goes wrong is in the report."""
    parser = argparse.ArgumentParser("ramnet-fetch")
    parser.add_argument("--netns", type=int)
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--dial-own", action="store_true")
    for name in ("--kept", "--bundle", "--documents"):
        parser.add_argument(name, type=int)
    options = parser.parse_args(arguments)
    try:
        if options.cgroup is not None:
            cgroup.join(options.cgroup, os.getpid())
        if options.dial_own:
            outward.stay_behind(set_no_new_privs)
        if options.netns is not None:
            netns.enter(options.netns)
        order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
        context = _trust(order.ca)
        for module in _LATE:
            importlib.import_module(module)
        confine(GATE_UID, GATE_UID, memory=MEMORY, cpu_seconds=CPU_SECONDS)
        with _workplace():
            report = _work(order, context, options)
    except RamnetError as error:
        report = Report(str(error))
    except OSError as error:
        report = Report(f"no room to fetch the policy: {error.strerror}")
    sys.stdout.buffer.write(msgspec.json.encode(report))
    return 0


def _trust(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        try:
            context.load_verify_locations(ca)
        except OSError as error:
            raise RamnetError(f"{ca}: cannot be used: {error.strerror or error}") from error
    return context


@contextlib.contextmanager
def _workplace() -> Iterator[None]:
    """A folder to work in; those that a killed predecessor has left are taken away."""
    top = Path(tempfile.gettempdir())
    for left in top.glob(f"{_PREFIX}*"):
        if left.lstat().st_uid == os.getuid():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        tempfile.tempdir = folder
        os.chdir(folder)
        yield
        os.chdir("/")


def _work(order: Order, context: ssl.SSLContext, options: argparse.Namespace) -> Report:
    report = Report()
    try:
        if order.task == "token":
            return _verify_token(order, context, options, report)
        kept = None if options.kept is None else _kept(options.kept, order)
        source = Source(order.url, order.root, tuple(order.groups))
        if order.task == "fetch":
            found = asyncio.run(_fetch(order, source, kept, context, report))
        elif kept is None:
            raise PolicyError("nothing is kept")
        else:
            found = verify(source, kept)
    except RefusedError as error:
        return msgspec.structs.replace(report, error=str(error), attack=error.attack)
    except RamnetError as error:
        return msgspec.structs.replace(report, error=str(error))
    except Exception as error:  # of whatever library, fed by whoever answers
        return msgspec.structs.replace(report, error=f"unexpected {error!r}"[:500])
    _write(options.bundle, pack(found.bundle))
    _write(options.documents, pack_documents(found.documents))
    return msgspec.structs.replace(
        report,
        expires=found.expires,
        seen=found.bundle.seen,
        documents=[name for name, _ in found.documents],
    )


def _verify_token(
    order: Order, context: ssl.SSLContext, options: argparse.Namespace, report: Report
) -> Report:
    assert order.rules is not None
    token, keys = order.token, order.root
    if not token:
        kept = msgspec.msgpack.decode(os.pread(options.kept, MAX_TOKEN + MAX_KEYS, 0), type=Kept)
        token, keys = kept.token, kept.keys
    elif order.url:
        keys = asyncio.run(_with_fetcher(order, None, context, report, _fetch_keys))
    claims = verify_token(token, keys, order.rules, order.now)
    _write(options.bundle, msgspec.msgpack.encode(Kept(token, keys)))
    return msgspec.structs.replace(report, claims=claims)


def _fetch_keys(order: Order, fetcher: HttpsFetcher) -> bytes:
    try:
        return fetcher.download_bytes(order.url, MAX_KEYS)
    except DownloadError as error:
        raise PolicyError(f"{order.url}: {error}") from error


def _kept(fd: int, order: Order) -> Bundle | None:
    """A bundle that cannot be read is as good as none where a new one can be had."""
    try:
        return unpack(os.pread(fd, min(os.fstat(fd).st_size, MAX_BUNDLE), 0))
    except PolicyError:
        if order.task == "fetch":
            return None
        raise


def _write(fd: int, data: bytes) -> None:
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)


async def _fetch(
    order: Order, source: Source, kept: Bundle | None, context: ssl.SSLContext, report: Report
) -> Verified:
    def ask(order: Order, fetcher: HttpsFetcher) -> Verified:
        return fetch(source, kept, fetcher, order.now)

    return await _with_fetcher(order, kept, context, report, ask)


async def _with_fetcher(
    order: Order,
    kept: Bundle | None,
    context: ssl.SSLContext,
    report: Report,
    ask: Callable[[Order, HttpsFetcher], _T],
) -> _T:
    """Run ``ask`` in a thread, with a fetcher that gets out as the gate does."""
    assert order.spec is not None
    assert order.surroundings is not None
    judge = Judge(Policy.empty(""))
    resolver = Resolver(judge, order.spec, _Silence())
    nearness = Nearness((order.spec.sinkhole4, order.spec.sinkhole6))
    resolver.update_surroundings(order.surroundings)
    nearness.update(order.surroundings)
    upstreams = Upstreams(Dialler(resolver, nearness), order.spec.proxy)
    fetcher = HttpsFetcher(
        _dial_from_a_thread(upstreams),
        context,
        deadline=time.monotonic() + order.seconds,
        timestamp=kept.metadata.get("timestamp.json", b"") if kept else b"",
        etag=kept.etag if kept and kept.url == order.url else "",
    )
    try:
        return await asyncio.to_thread(ask, order, fetcher)
    finally:
        report.requests, report.received = fetcher.requests, fetcher.received
        fetcher.close()
        await upstreams.close()
        resolver.close()


def _dial_from_a_thread(upstreams: Upstreams) -> Callable[[str, int], socket]:
    loop = asyncio.get_running_loop()

    def dial(host: str, port: int) -> socket:
        try:
            return asyncio.run_coroutine_threadsafe(upstreams.dial(host, port), loop).result()
        except DialError as error:
            raise OSError(str(error)) from error

    return dial


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
