"""libnftables, in process: whole transactions in, listings out.

One ``Nft`` belongs to the network namespace of the thread that makes it. libnftables ends the
process when it cannot open its netlink socket, so contexts are made once, at start, in the
privileged process, which holds few descriptors.
"""

import json
from typing import Any

from nftables import Nftables

from ramnet.errors import KernelRefusedError


class Nft:
    """A libnftables context, bound to the network namespace in which it was made.

    It owns the tables that it makes with ``flags owner``: nothing else may change them, and
    ``close`` lets go of them.
    """

    def __init__(self) -> None:
        """Make the context; call it on the namespace's own thread."""
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
