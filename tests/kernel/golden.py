"""``python -m tests.kernel.golden`` (as root): write the golden listing anew from this kernel."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ramnet.errors import KernelRefusedError
from ramnet.kernel.cgroup import cgroup2_mount, nft_path
from ramnet.kernel.netns import Namespace
from ramnet.kernel.nft import Nft
from ramnet.ruleset import (
    TABLE,
    Capabilities,
    Exemption,
    GateIdentity,
    Members,
    Ports,
    Situation,
    cover,
    render_table,
)
from ramnet.ruleset.hold import Held, Means, render_texts
from tests.lab.host import Host
from tests.unit.ruleset.cover_rows import COVER, COVERED, OWN
from tests.unit.ruleset.rows import CHRONY, USUAL

FOLDER = Path(__file__).parents[1] / "unit" / "ruleset" / "golden"

_FREE = Capabilities(owner=False, persist=False)
SITUATION: Situation = replace(
    USUAL,
    capabilities=_FREE,
    gate=GateIdentity(),
    exemptions=(Exemption(uid=CHRONY, proto="udp", port=123),),
    bridges=frozenset(),
)
"""Without what exists on one machine only: cgroups and interface numbers."""

_OWNED: Situation = replace(SITUATION, capabilities=Capabilities())
_ANYIP: Situation = replace(
    SITUATION,
    capabilities=replace(_FREE, nat_redirect=False),
    bridges=frozenset({1}),  # lo: the one interface number that is the same everywhere
    sysctls_before=(("net.ipv4.tcp_fwmark_accept", 0),),
)
_LEAST = replace(
    _FREE, nat_redirect=False, sets=False, dynamic_sets=False, ct=False, ct_mark=False,
    reject=False, counter=False, policy_routing6=False,
)  # fmt: skip
CGROUP = "ramnet-golden"
"""Stands for a cgroup that is made for the listing, since a rule cannot name what is not there."""
_MEMBERS = Members("ramnet_docker", cgroup=CGROUP)
_HELD = Held(listening=frozenset({22, 50000}), old_tcp=frozenset({45001}))


class Golden(NamedTuple):
    """What is applied, and where it stands then."""

    text: str
    table: str = TABLE
    owned: bool = False
    """Only libraries and kernels that know both flags take it."""


def _hold(held: Held, **means: bool) -> str:
    return next(text for used, text in render_texts(held, replace=True) if used == Means(**means))


ALL: dict[Path, Golden] = {
    FOLDER / f"{name}.nft": golden
    for name, golden in {
        "redirect": Golden(render_table(SITUATION)),
        "redirect-owned": Golden(render_table(_OWNED), owned=True),
        "members-cgroup2": Golden(
            render_table(replace(SITUATION, members=_MEMBERS)), _MEMBERS.table
        ),
        "members-net_cls": Golden(
            render_table(replace(SITUATION, members=Members("ramnet_docker", class_id=0x52410001))),
            "ramnet_docker",
        ),
        "anyip": Golden(render_table(_ANYIP)),
        "anyip-least": Golden(render_table(replace(_ANYIP, capabilities=_LEAST))),
        "cover": Golden(cover.render_table(COVER, SITUATION, Ports(929, 930), COVERED, OWN), COVER),
        "hold": Golden(_hold(_HELD)),
        "hold-cgroup": Golden(
            _hold(_HELD._replace(table="ramnet_docker", cgroup=CGROUP), cgroup=True),
            "ramnet_docker",
        ),
        "hold-least": Golden(_hold(_HELD, sets=False, ct=False, reject=False)),
    }.items()
}
"""By the file that holds the listing; ``least`` lacks whatever that table can do without."""


def listing(host: Host, golden: Golden) -> str:
    """What the kernel lists after the table was applied in the host's namespace."""
    namespace = Namespace(host.network_path)
    nft = namespace.call(Nft)
    try:
        with _cgroup() as path:
            namespace.call(nft.apply, golden.text.replace(f'"{CGROUP}"', f'"{path}"'))
            text = namespace.call(nft.listing, golden.table)
            namespace.call(nft.apply, f"delete table inet {golden.table}\n")
    finally:
        nft.close()
        namespace.close()
    assert text is not None
    text = re.sub(" # progname .*", "", text.replace(f'"{path}"', f'"{CGROUP}"'))
    return text.replace('oif "lo"', "oif 1")  # listed by name, planned by number


@contextlib.contextmanager
def _cgroup() -> Iterator[str]:
    mount = cgroup2_mount()
    if mount is None:
        yield CGROUP
        return
    directory = mount / f"{CGROUP}-{os.getpid()}"
    directory.mkdir()
    try:
        yield nft_path(directory)
    finally:
        directory.rmdir()


def main() -> None:
    """Write the files."""
    with tempfile.TemporaryDirectory() as directory:
        host = Host.create("golden", Path(directory) / "golden")
        for path, golden in ALL.items():
            try:
                path.write_text(listing(host, golden), encoding="ascii")
            except KernelRefusedError as error:
                print(f"{path.name} stays as it is: {error}")
        host.close()


if __name__ == "__main__":
    main()
