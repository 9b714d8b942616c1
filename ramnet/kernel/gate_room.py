"""The gate's own network namespace: where marked packets arrive and its listeners are.

A veth pair leads there. Both ends have one hardware address and ask nobody for another's (no
ARP), so that nothing needs addresses: whatever comes in is local, whatever goes out goes back.
The namespace lives as long as the service; when it goes, the pair goes with it, and what is
marked is unreachable.
"""

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pyroute2 import IPRoute, NetlinkError

from ramnet.errors import KernelRefusedError
from ramnet.kernel import libc
from ramnet.kernel.listeners import Listeners
from ramnet.kernel.netns import Namespace
from ramnet.ruleset import Listener

_HARDWARE: Final = "02:72:61:6d:6e:74"
_IFF_UP: Final = 0x1
_IFF_NOARP: Final = 0x80
_LOCAL_TABLE: Final = 100
_RULE_PRIORITY: Final = 10
_RT_TABLE_LOCAL: Final = 255
_RTN_LOCAL: Final = "local"
_RT_SCOPE_HOST: Final = 254
_BACKLOG: Final = 4096
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_IP_PKTINFO: Final = 8
_ADDR_GEN_NONE: Final = 1
_SYSCTL: Final = Path("/proc/sys/net")


class GateRoom:
    """Made for one scope's namespace; ``close`` takes it away."""

    def __init__(self, scope: Namespace, device: str, *, ipv6: bool) -> None:
        """Make the namespace and the pair, replacing one that an earlier service left.

        Raises:
            KernelRefusedError: the kernel has no such namespaces or pairs, or no privilege.
        """
        descriptor = new_namespace()
        try:
            self._namespace = Namespace(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        self._scope, self._device = scope, device
        try:
            scope.call(_make_pair, device, self._namespace.descriptor)
            self._namespace.call(_furnish, device, ipv6=ipv6)
        except (NetlinkError, OSError) as error:
            self.close()
            raise KernelRefusedError(f"cannot reach a namespace of the gate's: {error}") from None

    def listen(self, wanted: Iterable[Listener]) -> Listeners:
        """Open the gate's sockets there.

        Raises:
            KernelRefusedError: one of them cannot be had.
        """
        made: Listeners = {}
        try:
            for listener in wanted:
                sock = self._namespace.call(_open, listener)
                made.setdefault(listener.role, []).append(sock)
        except OSError as error:
            for sock in (s for group in made.values() for s in group):
                sock.close()
            raise KernelRefusedError(f"cannot listen for {listener}: {error.strerror}") from None
        return made

    def close(self) -> None:
        """Take the pair away and let go of the namespace."""
        with contextlib.suppress(NetlinkError, OSError):
            self._scope.call(remove_pair, self._device)
        self._namespace.close()


def remove_pair(device: str) -> None:
    """Delete our end, and so both, in the calling thread's network namespace."""
    with IPRoute() as rtnetlink:
        for index in rtnetlink.link_lookup(ifname=device):
            rtnetlink.link("del", index=index)


def can_be_made(device: str) -> bool:
    """Whether the kernel has all that a room needs; to be asked in a scratch namespace."""
    scratch = Namespace("/proc/thread-self/ns/net")
    try:
        GateRoom(scratch, device, ipv6=False).close()
    except KernelRefusedError:
        return False
    finally:
        scratch.close()
    return True


def can_be_transparent() -> bool:
    """Whether sockets may answer from any address, in both families."""
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            with socket.socket(family, socket.SOCK_STREAM) as sock:
                _make_transparent(sock)
                if not sock.getsockopt(*_transparent(family)):
                    return False
    except OSError as error:
        return error.errno == errno.EAFNOSUPPORT
    return True


def new_namespace() -> int:
    """An open descriptor of a network namespace with nobody in it. Raises KernelRefusedError."""
    made: list[int] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            libc.unshare(libc.CLONE_NEWNET)
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        except (KernelRefusedError, OSError) as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="gate-room")
    thread.start()
    thread.join()
    if errors:
        raise KernelRefusedError(f"no network namespace for the gate: {errors[0]}")
    return made[0]


def _make_pair(device: str, room: int) -> None:
    remove_pair(device)
    with IPRoute() as rtnetlink:
        rtnetlink.link(
            "add", ifname=device, kind="veth", address=_HARDWARE,
            peer={"ifname": device, "net_ns_fd": room, "address": _HARDWARE},
        )  # fmt: skip
        _set_up(rtnetlink, device)
    # Answers come from addresses whose route is another; by our mark it is this one.
    _write(f"ipv4/conf/{device}/src_valid_mark", 1)
    _take_local_addresses(device)


def _furnish(device: str, *, ipv6: bool) -> None:
    for name in ("all", device):
        _write(f"ipv4/conf/{name}/rp_filter", 0)
    _take_local_addresses(device)
    with IPRoute() as rtnetlink:
        loopback = rtnetlink.link_lookup(ifname="lo")[0]
        rtnetlink.link("set", index=loopback, state="up")
        # Who asked from 127.0.0.1 is answered over the pair, as everybody.
        rtnetlink.rule("del", family=socket.AF_INET, table=_RT_TABLE_LOCAL, priority=0)
        index = _set_up(rtnetlink, device)
        for family in (socket.AF_INET, socket.AF_INET6)[: 2 if ipv6 else 1]:
            rtnetlink.rule(
                "add", family=family, iifname=device, table=_LOCAL_TABLE, priority=_RULE_PRIORITY
            )
            rtnetlink.route(
                "add", family=family, dst="default", oif=loopback, table=_LOCAL_TABLE,
                type=_RTN_LOCAL, scope=_RT_SCOPE_HOST,
            )  # fmt: skip
            rtnetlink.route("add", family=family, dst="default", oif=index)


def _take_local_addresses(device: str) -> None:
    """Loopback and own addresses as source and destination, else martians (RFC 1812, 5.3.7)."""
    for key in ("accept_local", "route_localnet"):
        _write(f"ipv4/conf/{device}/{key}", 1)


def _set_up(rtnetlink: IPRoute, device: str) -> int:
    # No link-local address, so no duplicate detection and no word to routers.
    _write(f"ipv6/conf/{device}/addr_gen_mode", _ADDR_GEN_NONE)
    index: int = rtnetlink.link_lookup(ifname=device)[0]
    flags = _IFF_UP | _IFF_NOARP
    rtnetlink.link("set", index=index, flags=flags, change=flags)
    return index


def _write(key: str, value: int) -> None:
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        (_SYSCTL / key).write_text(str(value), encoding="ascii")


def _open(listener: Listener) -> socket.socket:
    family = socket.AF_INET if listener.family == 4 else socket.AF_INET6
    kind = socket.SOCK_STREAM if listener.kind == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _make_transparent(sock)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", listener.port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _make_transparent(sock: socket.socket) -> None:
    sock.setsockopt(*_transparent(sock.family), 1)


def _transparent(family: int) -> tuple[int, int]:
    if family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, _IPV6_TRANSPARENT
    return socket.IPPROTO_IP, _IP_TRANSPARENT
