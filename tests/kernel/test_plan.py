"""``ramnet rules``: what it prints is what is applied then, to the letter."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ramnet.config import Config, Proxy, Scope
from ramnet.kernel.enforcer import Enforcer
from ramnet.kernel.nft import Nft
from ramnet.kernel.probe import WITHOUT
from tests.kernel.conftest import FAR4, VM4, client
from tests.lab.host import Host


def noting(applied: list[str]) -> Callable[[Nft, str], None]:
    apply = Nft.apply

    def note_and_apply(nft: Nft, text: str) -> None:
        applied.append(text)
        apply(nft, text)

    return note_and_apply


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[Host]:
    """A host of its own: what other tests' connections come to between plan and rules is no
    difference of theirs."""
    if os.geteuid() != 0:
        pytest.skip("makes network namespaces: needs root")
    vm = Host.create("plan", tmp_path / "plan")
    for command in (
        "ip link add eth0 type veth peer name wire0",
        "ip link set dev wire0 up",
        f"ip addr add {VM4}/24 dev eth0",
        "ip link set dev eth0 up",
        "ip route add default via 192.0.2.1",
    ):
        vm.run(command.split()).check()
    yield vm
    vm.close()


@pytest.mark.parametrize(
    ("without", "cgroup", "containers"),
    [
        ("", None, []),
        ("owner", None, []),
        ("", f"ramnet-test-{os.getpid()}.plan", []),
        ("socket_cgroupv2", f"ramnet-test-{os.getpid()}.plan", []),
        ("nat_redirect", None, []),
        ("nat_redirect,route_chain,sets,ct,reject,counter,policy_routing6", None, []),
        ("", None, ["buildx", "bridge:builders0"]),
        ("", f"ramnet-test-{os.getpid()}.plan", ["kind"]),
    ],
    ids=[
        "redirect",
        "anybody's",
        "cgroup2",
        "net_cls",
        "anyip",
        "anyip-least",
        "cover",
        "cover-cgroup2",
    ],
)
def test_what_is_printed_is_what_is_applied(
    vm: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    without: str, cgroup: str | None, containers: list[str],
) -> None:  # fmt: skip
    """Before anything stands, and again where all of it does."""
    monkeypatch.setenv(WITHOUT, without)
    scope = Scope(name="vm", netns=vm.network_path, cgroup=cgroup, containers=containers)
    config = Config(
        policy="/none", scopes=[scope], proxy=Proxy(explicit=["127.0.0.1:3128"]),
        control_socket=str(tmp_path / "run/control.sock"),
    )  # fmt: skip
    applied: list[str] = []
    try:
        with client(vm, socket.AF_INET, socket.SOCK_DGRAM) as old, vm.socket() as service:
            old.connect((FAR4, 443))
            service.bind(("127.0.0.1", 7779))
            service.listen()
            for _ in range(2):
                planning = Enforcer(config, scope)
                planned = planning.plan()
                planning.close()
                with monkeypatch.context() as patch:
                    enforcer = Enforcer(config, scope)
                    patch.setattr(Nft, "apply", noting(applied))
                    enforcer.install()
                    enforcer.close()
                whole = [text for text in applied if "chain output {" in text]
                beside = [text for text in applied if "iifname @whole" in text]
                assert whole
                assert len(beside) == bool(containers)
                text = planned.partition("# ")[0]
                assert [text] * len(whole) == [each + "".join(beside) for each in whole]
                applied.clear()
    finally:
        Enforcer(config, scope).remove()
