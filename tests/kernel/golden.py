"""``python -m tests.kernel.golden`` (as root): write the golden listing anew from this kernel."""

import tempfile
from dataclasses import replace
from pathlib import Path

from ramnet.ruleset import Capabilities, Exemption, GateIdentity, Situation, render_table
from tests.lab.host import Host
from tests.unit.ruleset.rows import CHRONY, USUAL

FOLDER = Path(__file__).parents[1] / "unit" / "ruleset" / "golden"
GOLDEN = FOLDER / "redirect.nft"

SITUATION: Situation = replace(
    USUAL,
    gate=GateIdentity(),
    exemptions=(Exemption(uid=CHRONY, proto="udp", port=123),),
    bridges=frozenset(),
)
"""Without what exists on one machine only: cgroups and interface numbers."""

_ANYIP: Situation = replace(
    SITUATION,
    capabilities=Capabilities(nat_redirect=False),
    bridges=frozenset({1}),  # lo: the one interface number that is the same everywhere
    sysctls_before=(("net.ipv4.tcp_fwmark_accept", 0),),
)
_LEAST = Capabilities(
    nat_redirect=False, sets=False, dynamic_sets=False, ct=False, ct_mark=False, reject=False,
    counter=False, policy_routing6=False,
)  # fmt: skip
ALL: dict[Path, Situation] = {
    GOLDEN: SITUATION,
    FOLDER / "anyip.nft": _ANYIP,
    FOLDER / "anyip-least.nft": replace(_ANYIP, capabilities=_LEAST),
}
"""By the file that holds the listing; the last lacks whatever tier anyip can do without."""


def listing(host: Host, situation: Situation) -> str:
    """What the kernel lists after the table was applied in the host's namespace."""
    host.run(["nft", "-f", "-"], stdin=render_table(situation)).check()
    text = host.run(["nft", "-s", "list", "table", "inet", "ramnet"]).check().out
    host.run(["nft", "delete", "table", "inet", "ramnet"]).check()
    return text.replace('oif "lo"', "oif 1")  # listed by name, planned by number


def main() -> None:
    """Write the files."""
    with tempfile.TemporaryDirectory() as directory:
        host = Host.create("golden", Path(directory) / "golden")
        for path, situation in ALL.items():
            path.write_text(listing(host, situation), encoding="ascii")
        host.close()


if __name__ == "__main__":
    main()
