"""libnftables, in process: whole transactions in, listings out.

One ``Nft`` belongs to the network namespace of the thread that makes it. libnftables ends the
process when it cannot open its netlink socket, so contexts are made once, at start, in the
privileged process, which holds few descriptors.
"""

import ctypes
import errno
import json
import socket
from typing import Any, Final

from nftables import Nftables

from ramnet.errors import KernelRefusedError

LOAD: Final = "load its modules (modprobe nf_tables), or take a kernel with CONFIG_NF_TABLES"
_LIBRARY: Final = "libnftables.so.1"
_NETLINK_NETFILTER: Final = 12  # linux/netlink.h


class Nft:
    """A libnftables context, bound to the network namespace in which it was made.

    It owns the tables that it makes with ``flags owner``: nothing else may change them, and
    ``close`` lets go of them.
    """

    def __init__(self) -> None:
        """Make the context; call it on the namespace's own thread.

        Raises:
            KernelRefusedError: the kernel has no nf_tables, or the library is not there.
        """
        _check_kernel()
        _check_library()
        self._context = Nftables()
        self._context.set_stateless_output(True)

    def close(self) -> None:
        """Close the netlink socket; tables with ``flags persist`` stay, and are nobody's."""
        del self._context  # the library has no other way

    def apply(self, text: str) -> None:
        """Apply ``text`` in one transaction: all of it or nothing.

        Raises:
            KernelRefusedError: with the kernel's words and the line of ``text`` they speak of.
        """
        code, _, error = self._context.cmd(text)
        if code != 0:
            raise KernelRefusedError(f"nftables refused the rules: {_first(error)}{_hint(error)}")

    def listing(self, table: str, family: str = "inet") -> str | None:
        """The table as text without counters, None where it is not there."""
        code, output, _ = self._context.cmd(f"list table {family} {table}")
        return output if code == 0 else None

    def chains(self, table: str, family: str = "inet") -> str | None:
        """The table without what its sets hold: what only another hand could have changed."""
        self._context.set_terse_output(True)
        try:
            return self.listing(table, family)
        finally:
            self._context.set_terse_output(False)

    def handles(self, table: str, family: str = "inet") -> dict[str, list[int]]:
        """The handles of each chain's rules, in their order."""
        found: dict[str, list[int]] = {}
        for item in self._json(table, family):
            if (rule := item.get("rule")) is not None:
                found.setdefault(rule["chain"], []).append(rule["handle"])
        return found

    def leases(self, table: str, family: str = "inet") -> dict[str, int]:
        """Whole seconds for which elements that expire stay in the table's sets."""
        return {
            element["elem"]["val"]: element["elem"]["expires"]
            for item in self._json(table, family)
            for element in item.get("set", {}).get("elem", ())
            if isinstance(element, dict) and "expires" in element.get("elem", ())
        }

    def counters(self, table: str) -> dict[str, list[int]]:
        """Packets counted by each chain's rules, in their order."""
        return _counted(self._json(table, "inet"))

    def _json(self, table: str, family: str) -> list[dict[str, Any]]:
        """The listing, counters and handles in it; empty where there is no such table."""
        self._context.set_stateless_output(False)
        self._context.set_json_output(True)
        try:
            code, output, _ = self._context.cmd(f"list table {family} {table}")
        finally:
            self._context.set_json_output(False)
            self._context.set_stateless_output(True)
        document: dict[str, list[dict[str, Any]]] = json.loads(str(output)) if code == 0 else {}
        return document.get("nftables", [])


def _check_kernel() -> None:
    """The library would end this process where there is no such socket."""
    try:
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER).close()
    except OSError as error:
        if error.errno in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
            raise KernelRefusedError(
                f"this kernel has no nf_tables ({error.strerror}); {LOAD}"
            ) from None
        raise KernelRefusedError(f"no socket to nf_tables: {error.strerror}") from None


def _check_library() -> None:
    """A context without it would print a traceback of its own."""
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise KernelRefusedError(
            f"libnftables cannot be loaded ({error}); install the package libnftables1"
        ) from None


def _counted(listing: list[dict[str, Any]]) -> dict[str, list[int]]:
    counted: dict[str, list[int]] = {}
    for item in listing:
        rule = item.get("rule") or {"expr": ()}
        for expression in rule["expr"]:
            counter = expression.get("counter")
            if counter is not None:
                counted.setdefault(rule["chain"], []).append(counter["packets"])
    return counted


def _hint(error: str) -> str:
    """EPERM, to root: CAP_NET_ADMIN is not there, or the table is another's."""
    if "not permitted" not in str(error):
        return ""
    return " (another process owns the table, or this one lacks CAP_NET_ADMIN)"


def _first(error: str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " | ".join(lines[:2]) or "no reason given"
