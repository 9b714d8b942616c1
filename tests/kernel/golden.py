"""``python -m tests.kernel.golden`` (as root): write the golden listing anew from this kernel."""

import tempfile
from dataclasses import replace
from pathlib import Path

from ramnet.ruleset import Exemption, GateIdentity, Situation, render_table
from tests.lab.host import Host
from tests.unit.ruleset.rows import CHRONY, USUAL

GOLDEN = Path(__file__).parents[1] / "unit" / "ruleset" / "golden" / "redirect.nft"

SITUATION: Situation = replace(
    USUAL,
    gate=GateIdentity(),
    exemptions=(Exemption(uid=CHRONY, proto="udp", port=123),),
    bridges=frozenset(),
)
"""Without what exists on one machine only: cgroups and interface numbers."""


def listing(host: Host, situation: Situation) -> str:
    """What the kernel lists after the table was applied in the host's namespace."""
    host.run(["nft", "-f", "-"], stdin=render_table(situation)).check()
    text = host.run(["nft", "-s", "list", "table", "inet", "ramnet"]).check().out
    host.run(["nft", "delete", "table", "inet", "ramnet"]).check()
    return text


def main() -> None:
    """Write the file."""
    with tempfile.TemporaryDirectory() as directory:
        host = Host.create("golden", Path(directory) / "golden")
        GOLDEN.write_text(listing(host, SITUATION), encoding="ascii")
        host.close()


if __name__ == "__main__":
    main()
