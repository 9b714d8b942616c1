"""What this kernel can do, found by doing it in a scratch network namespace.

Options, versions and loaded modules say little (a module is loaded by its first use, and one
unsupported expression rolls a whole transaction back), so each capability is a small table that
is loaded, read back and thrown away with its namespace.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from ramnet.errors import ConfigError, KernelRefusedError
from ramnet.kernel import libc
from ramnet.kernel.cgroup import GateCgroup, nft_path
from ramnet.kernel.nft import LOAD, Nft
from ramnet.kernel.reserve import RESERVE
from ramnet.ruleset import Capabilities, GateIdentity

WITHOUT: Final = "RAMNET_WITHOUT"
"""Environment variable: capabilities to do without, by name and comma, whatever the kernel has.
It takes away only, so that every tier can be walked on one kernel."""

_R = TypeVar("_R")

_TABLE: Final = "ramnet_probe"
_FILTER: Final = "type filter hook output priority 0; policy accept;"
_ROUTE: Final = "type route hook output priority -150; policy accept;"
_RULES: Final[dict[str, tuple[str, str]]] = {
    "sets": (_FILTER, "tcp dport { 80, 443 } ip daddr @nets accept"),
    "ct": (_FILTER, "ct direction reply ct status dnat accept"),
    "nat_redirect": (
        "type nat hook output priority -101; policy accept;",
        "tcp dport 1 redirect to :1",
    ),
    "reject": (_FILTER, "meta l4proto tcp reject with tcp reset"),
    "counter": (_FILTER, "counter drop"),
    "skuid": (_FILTER, "meta skuid 1 accept"),
    "ct_mark": (_FILTER, "ct mark set 0x1"),
    "meta_cgroup": (_FILTER, "meta cgroup 0x10001 accept"),
    "socket_lookup": (
        "type filter hook input priority 0; policy accept;",
        "socket transparent 0 accept",
    ),
    "route_chain": (_ROUTE, "meta mark set 0x1"),
    "dynamic_sets": (_FILTER, "meta l4proto tcp add @seen { ct original proto-dst timeout 1d }"),
}
_SETS: Final = {
    "@seen": "set seen { type inet_service; size 8; flags dynamic,timeout; }\n",
    "@nets": "set nets { type ipv4_addr; flags interval; elements = { 192.0.2.0/24 }; }\n",
}
_MARK_AND_TABLE: Final = (0x52414D47, 60927)
_CGROUP_LEVELS: Final = range(1, 9)
_SEND_FROM_CGROUP: Final = (
    "import os,socket,sys;"
    "open(sys.argv[1]+'/cgroup.procs','w').write(str(os.getpid()));"
    "socket.socket(socket.AF_INET,socket.SOCK_DGRAM).sendto(b'',('127.0.0.1',9))"
)


def probe(gate: GateCgroup) -> tuple[Capabilities, GateIdentity]:
    """Find out what the kernel can do and how the gate's own sockets can be told apart.

    Makes the gate's cgroup, since only a packet out of it shows that it can be matched. What
    ``RAMNET_WITHOUT`` names is taken as not there.

    Raises:
        ConfigError: ``RAMNET_WITHOUT`` names what is no capability.
        KernelRefusedError: no network namespace may be made, or nf_tables is not there.
    """
    without = frozenset(filter(None, map(str.strip, os.environ.get(WITHOUT, "").split(","))))
    if unknown := without - Capabilities().listed().keys():
        raise ConfigError(f"{WITHOUT}: there is no capability {', '.join(sorted(unknown))}")
    found, identity = _in_scratch_namespace(partial(_probe_here, gate))
    if "socket_cgroupv2" in without:
        identity = GateIdentity()
    return replace(found, **dict.fromkeys(without, False)), identity


def _in_scratch_namespace(function: Callable[[], _R]) -> _R:
    results: list[_R] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            libc.unshare(libc.CLONE_NEWNET)
            results.append(function())
        except BaseException as error:
            errors.append(error)

    # The namespace ends with the thread that unshared it.
    thread = threading.Thread(target=work, name="probe")
    with RESERVE.lent():
        thread.start()
        thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _probe_here(cgroup: GateCgroup) -> tuple[Capabilities, GateIdentity]:
    # Here, since they load pyroute2.
    from ramnet.kernel import gate_room, policy_routing

    nft = Nft()
    if not _loads(nft, _FILTER, "accept"):
        raise KernelRefusedError(
            f"this kernel has no nf_tables, or ramnet may not use it (CAP_NET_ADMIN); {LOAD}"
        )
    gate = _gate_identity(nft, cgroup.make())
    found = {name: _loads(nft, chain, rule) for name, (chain, rule) in _RULES.items()}
    found["route_chain_ip"] = all(
        _loads(nft, *_RULES["route_chain"], family=family) for family in ("ip", "ip6")
    )
    found["ipv6"] = Path("/proc/sys/net/ipv6").is_dir()
    found["owner"] = _keeps_flags(nft, "owner")
    found["persist"] = _keeps_flags(nft, "owner,persist", f"destroy table inet {_TABLE}\n")
    found["transparent"] = gate_room.can_be_transparent()
    found["policy_routing4"] = policy_routing.can_route(4, *_MARK_AND_TABLE)
    found["policy_routing6"] = policy_routing.can_route(6, *_MARK_AND_TABLE)
    found["gate_namespace"] = gate_room.can_be_made(_TABLE)
    return Capabilities(**found, socket_cgroupv2=gate.cgroup is not None), gate


def _loads(nft: Nft, chain: str, rule: str, family: str = "inet") -> bool:
    sets = "".join(text for name, text in _SETS.items() if name in rule)
    try:
        nft.apply(_table(chain, rule, sets, family))
    except KernelRefusedError:
        return False
    # Read back: some kernels take what they do not keep.
    listed = (nft.listing(_TABLE, family) or "").split()
    nft.apply(f"delete table {family} {_TABLE}\n")
    return rule.split()[0] in listed


def _keeps_flags(nft: Nft, flags: str, before: str = "") -> bool:
    """``before`` is how a table that gets these flags takes the place of another."""
    try:
        nft.apply(f"{before}table inet {_TABLE} {{ flags {flags}; }}\n")
    except KernelRefusedError:
        return False
    listed = nft.listing(_TABLE) or ""
    nft.apply(f"delete table inet {_TABLE}\n")
    return all(flag in listed for flag in flags.split(","))


def _table(chain: str, rule: str, sets: str = "", family: str = "inet") -> str:
    return f"table {family} {_TABLE} {{\n{sets}\nchain probe {{\n{chain}\n{rule}\n}}\n}}\n"


def _gate_identity(nft: Nft, directory: Path | None) -> GateIdentity:
    """The cgroup counts only where a packet of a process in it is seen to match."""
    if directory is None:
        return GateIdentity()
    path = nft_path(directory)
    for level in _CGROUP_LEVELS:
        if _matches(nft, directory, f'socket cgroupv2 level {level} "{path}"'):
            return GateIdentity(cgroup=path, cgroup_level=level)
    return GateIdentity()


def _matches(nft: Nft, directory: Path, match: str) -> bool:
    rule = f"{match} udp dport 9 counter"
    try:
        nft.apply(_table(_FILTER, rule))
    except KernelRefusedError:
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False, capture_output=True)
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", _SEND_FROM_CGROUP, str(directory)],
        check=False,
        capture_output=True,
    )
    counted = nft.counters(_TABLE).get("probe", [0])
    nft.apply(f"delete table inet {_TABLE}\n")
    return counted[0] > 0


def first_match(directory: Path, matches: Sequence[str]) -> str | None:
    """The first of ``matches`` that a packet of a process in ``directory`` is seen to meet."""

    def look() -> str | None:
        nft = Nft()
        return next((match for match in matches if _matches(nft, directory, match)), None)

    return _in_scratch_namespace(look)
