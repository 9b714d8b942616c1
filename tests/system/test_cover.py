"""Containers that a scope covers are held to the policy from their first packet; others are not.

The builder is a container with a builder's name and image, which fetches.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Iterator
from functools import partial

import pytest

from ramnet.ruleset import cover
from tests.lab import Capture, Docker, Lab, Packets, Ramnet, policy_text
from tests.lab import addresses as at
from tests.lab.host import Host
from tests.lab.processes import Result, wait_until
from tests.lab.service import DEFAULT_CONFIG
from tests.system.conftest import POLICY, sentence, stray

pytestmark = pytest.mark.lab

BUILDKIT = "moby/buildkit:buildx-stable-1"
PLAIN = f"{at.REGISTRY_ALLOWED.name}/{at.IMAGE}"
BUILDER = "buildx_buildkit_x0"
_FILTERED = "/proc/sys/net/bridge/bridge-nf-call-iptables"
NEARER, OUTWARD = "buildx_buildkit_near0", "buildx_buildkit_out0"
COVERED = 'netns = "self"\ncontainers = ["buildx", "kind", "label:cover=yes", "bridge:builders0"]\n'
SECOND = '[[scope]]\nname = "second"\nnetns = "/run/second"\ncontainers = ["buildx"]\n'
CONFIG = DEFAULT_CONFIG.replace('netns = "self"\n', COVERED) + SECOND
FETCH = (
    "for i in 1 2 3 4 5 6 7 8; do (echo 'GET / HTTP/1.0'; echo; sleep 0.1) | nc -w 1 {} 80; done; "
    "sleep 600"
)
BLOCKED = f"http://{at.FILES_BLOCKED.name}/hello.txt"
BY_ADDRESS = f"http://{at.FILES_BLOCKED.ipv4}/hello.txt"


@pytest.fixture(scope="module")
def covering(lab: Lab, service: Ramnet) -> Iterator[Ramnet]:
    """The service with cover, over a dockerd with a dual-stack network."""
    service.close()
    docker = lab.docker
    if docker.process is None or docker.process.code is not None:
        docker.stop()
        docker.start()
    docker.run("pull", PLAIN).check()
    docker.run("tag", PLAIN, BUILDKIT).check()
    docker.run("network", "create", "--ipv6", "--subnet", "2001:db8:d::/64", "two").check()
    name = "com.docker.network.bridge.name=builders0"
    docker.run("network", "create", "--opt", name, "whole").check()
    docker.vm.run(["touch", "/run/second"]).check()
    docker.vm.run(["unshare", "--net=/run/second", "ip", "link", "set", "lo", "up"]).check()
    service.start(POLICY, config=CONFIG)
    wait_until("Docker was asked", lambda: _cover(service)["problem"] is None, 20)
    yield service
    service.down()
    service.close()
    docker.forget()
    for network in ("two", "whole"):
        docker.run("network", "rm", network)
    docker.vm.run(["umount", "/run/second"]).check()


def _cover(service: Ramnet) -> dict[str, object]:
    first, _ = service.status()["scopes"]
    found: dict[str, object] = first["cover"]
    return found


def start(docker: Docker, name: str, image: str, *options: str, command: str = "sleep 600") -> None:
    docker.run(
        "run", "--detach", "--name", name, *options, image, "sh", "-c", command
    ).check()  # fmt: skip


def fetch(docker: Docker, name: str, url: str) -> Result:
    """By a real client in the container's network namespace; it asks the vm's resolver."""
    command = ["curl", "--silent", "--show-error", "--fail", "--include", "--max-time", "4", url]
    return docker.vm.run([*inside(docker, name), *command])


def inside(docker: Docker, name: str) -> list[str]:
    pid = docker.run("inspect", "--format", "{{.State.Pid}}", name).check().out.strip()
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


def said(docker: Docker, name: str, url: str) -> str:
    """The answer with its head, whatever its status."""
    command = ["curl", "--silent", "--include", "--max-time", "4", url]
    return docker.vm.run([*inside(docker, name), *command]).out


def remove(docker: Docker, *names: str) -> None:
    docker.run("rm", "--force", *names).check()


def blocked(capture: Capture) -> Packets:
    return capture.settle().sent_by_vm().about(at.FILES_BLOCKED)


def test_a_builder_obeys_from_its_first_packet(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    """It fetches as its first act, from a bridge that no covered container was on."""
    start(docker, BUILDER, BUILDKIT, command=FETCH.format(at.FILES_BLOCKED.ipv4))
    assert sentence(at.FILES_BLOCKED.name) in said(docker, BUILDER, BLOCKED)
    allowed = fetch(docker, BUILDER, f"http://{at.FILES_ALLOWED.name}/hello.txt")
    assert allowed.ok, allowed.err
    names = {event["name"] for event in covering.events() if event.get("container") == BUILDER}
    assert at.FILES_BLOCKED.name in names
    assert not stray(capture)
    assert BUILDER in dict(_cover(covering)["covered"]).values()  # type: ignore[call-overload]
    found = {each["code"]: each for each in covering_caveats(covering)}
    assert found["buildx-docker-container"]["state"] == "covered"


def covering_caveats(service: Ramnet) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(service.command("caveats", "--json").out)
    return found


def test_another_container_beside_it_is_untouched(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    start(docker, "plain", PLAIN)
    assert fetch(docker, "plain", BLOCKED).ok
    assert blocked(capture), "this capture would have seen it"
    assert docker.run("exec", "plain", "ping", "-c", "1", at.FILES_BLOCKED.ipv4).ok


def test_other_protocols_and_other_resolvers(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    vm, within = docker.vm, inside(docker, BUILDER)
    assert not vm.run([*within, "ping", "-c", "1", "-W", "1", at.FILES_BLOCKED.ipv4]).ok
    dig = ["dig", "+short", "+tries=1", "+time=2", f"@{at.FOREIGN_RESOLVER.ipv4}"]
    assert at.FILES_BLOCKED.ipv4 not in vm.run([*within, *dig, at.FILES_BLOCKED.name]).out
    assert at.FILES_ALLOWED.ipv4 in vm.run([*within, *dig, at.FILES_ALLOWED.name]).out
    quic = f"socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{at.FILES_BLOCKED.ipv4}', 443))"
    vm.run([*within, sys.executable, "-c", f"import socket; {quic}"]).check()
    dot = f"socket.create_connection(('{at.FILES_BLOCKED.ipv4}', 853), 3)"
    tried = vm.run([*within, sys.executable, "-c", f"import socket; {dot}"])
    assert "ConnectionRefusedError" in tried.err
    assert not stray(capture)


def test_round_it_by_an_address_of_its_own(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    """A builder is privileged: it gives itself an address that Docker knows nothing of."""
    vm, within = docker.vm, inside(docker, BUILDER)
    vm.run([*within, "ip", "address", "add", "172.17.9.9/16", "dev", "eth0"]).check()
    change = ["ip", "route", "change", "default", "via", "172.17.0.1", "src", "172.17.9.9"]
    vm.run([*within, *change]).check()
    assert not fetch(docker, BUILDER, BY_ADDRESS).ok
    assert not stray(capture)


def test_round_it_by_another_network_name_or_ipv6(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    docker.run("network", "connect", "two", BUILDER).check()
    docker.run("rename", BUILDER, "innocent").check()
    docker.run("network", "disconnect", "bridge", "innocent").check()
    for url in (BLOCKED, BY_ADDRESS, f"http://[{at.FILES_BLOCKED.ipv6}]/hello.txt"):
        assert not fetch(docker, "innocent", url).ok
    assert fetch(docker, "innocent", f"http://{at.FILES_ALLOWED.name}/hello.txt").ok
    assert not stray(capture)
    docker.run("network", "connect", "bridge", "innocent").check()


def test_round_it_in_the_network_of_another(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    start(docker, "shared", PLAIN)
    start(docker, "middle", PLAIN, "--network", "container:shared")
    start(docker, "buildx_buildkit_y0", BUILDKIT, "--network", "container:middle")
    wait_until("both", lambda: "shared" in _addresses(covering), 10)
    assert not fetch(docker, "buildx_buildkit_y0", BY_ADDRESS).ok
    assert not stray(capture)
    remove(docker, "buildx_buildkit_y0", "middle", "shared")


def _addresses(service: Ramnet) -> list[str]:
    return list(dict(_cover(service)["addresses"]).values())  # type: ignore[call-overload]


def test_over_ipv6_and_by_a_new_policy(covering: Ramnet, docker: Docker, capture: Capture) -> None:
    start(docker, "buildx_buildkit_six0", BUILDKIT, "--network", "two")
    six = [*inside(docker, "buildx_buildkit_six0"), "curl", "-6sf", "--max-time", "10"]
    allowed, refused = (
        [*six, f"http://{site.name}/hello.txt"] for site in (at.FILES_ALLOWED, at.FILES_BLOCKED)
    )
    assert docker.vm.run(allowed).ok
    assert not docker.vm.run(refused).ok
    covering.set_policy(policy_text(at.REGISTRY_ALLOWED.name, at.FILES_BLOCKED.name))
    assert not docker.vm.run(allowed).ok
    assert docker.vm.run(refused).ok
    covering.set_policy(POLICY)
    assert docker.vm.run(allowed).ok
    capture.clear()
    assert not docker.vm.run(refused).ok
    assert not stray(capture)
    remove(docker, "buildx_buildkit_six0")


def test_its_published_port_is_reached_and_opens_nothing(
    covering: Ramnet, lab: Lab, docker: Docker, capture: Capture
) -> None:
    name, served = "buildx_buildkit_pub0", "while true; do echo served | nc -l -p 80; done"
    start(docker, name, BUILDKIT, "--publish", "8088:80", command=served)

    def reached(host: Host, address: str) -> bool:
        read = f"import socket; print(socket.create_connection(('{address}', 8088), 3).recv(9))"
        return "served" in host.run([sys.executable, "-c", read]).out

    wait_until("from afar", lambda: reached(lab.inet, at.VM_IPV4), 20)
    wait_until("from here", lambda: reached(lab.vm, "127.0.0.1"), 20)
    capture.clear()
    assert not fetch(docker, name, BY_ADDRESS).ok
    assert not stray(capture)
    remove(docker, name)


def test_a_second_scope_has_a_table_of_its_own(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    _, second = covering.status()["scopes"]
    assert second["rules"]["intact"]
    assert "no dockerd in this scope's network namespace is in view" in second["cover"]["problem"]
    enter = ["nsenter", "--net=/run/second", "nft", "list", "table", "inet"]
    assert docker.vm.run([*enter, "ramnetcover_second"]).ok
    assert not docker.vm.run([*enter, "ramnetcover_dockerd"]).ok
    planned = covering.command("rules").check().out
    for table in ("ramnetcover_dockerd", "ramnetcover_second"):
        assert f"table inet {table} {{" in planned


def test_killed_it_stays_closed_for_new_ones_too(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    # An address that is another's when the service dies stays so for the rest of its lease.
    others = [_address(docker, "plain")]
    wait_until("removals", lambda: _cover(covering)["other_addresses"] == others, 10)
    covering.signal(covering.supervisor_pid())
    start(
        docker, "late", PLAIN, "--label", "cover=yes", command=FETCH.format(at.FILES_BLOCKED.ipv4)
    )
    assert not fetch(docker, "innocent", BY_ADDRESS).ok
    covering.wait_restarted()
    wait_until("Docker was asked", lambda: _cover(covering)["problem"] is None, 20)
    assert not fetch(docker, "late", BY_ADDRESS).ok
    assert not stray(capture)


def test_killed_for_good_nobody_gets_out_by_anothers_address(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    """The service is dead; Docker gives the address of a container that went to a new builder."""
    start(docker, "leaver", PLAIN)
    address = _address(docker, "leaver")
    wait_until("Docker was asked", lambda: address in _others(docker), 10)
    covering.kill()
    wait_until("the end of the lease", lambda: not _others(docker), cover.LEASE + 5)
    remove(docker, "leaver")
    fetching = FETCH.format(at.FILES_BLOCKED.ipv4)
    start(docker, "heir", PLAIN, "--label", "cover=yes", command=fetching)
    assert _address(docker, "heir") == address
    assert not fetch(docker, "heir", BY_ADDRESS).ok
    assert not fetch(docker, "plain", BY_ADDRESS).ok, "it is closed rather than open"
    assert not stray(capture)
    remove(docker, "heir")
    covering.start(POLICY, config=CONFIG)
    wait_until("Docker was asked", lambda: _address(docker, "plain") in _others(docker), 20)
    assert fetch(docker, "plain", BY_ADDRESS).ok


def _others(docker: Docker) -> str:
    listed = ["nft", "list", "set", "inet", "ramnetcover_dockerd", "others4"]
    found = docker.vm.run(listed).check().out
    return found.partition("elements")[2]


def test_the_address_of_a_covered_one_is_free_again(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    remove(docker, "plain", "late", "innocent")
    start(docker, BUILDER, BUILDKIT)
    address = _address(docker, BUILDER)
    docker.run("stop", "--time", "0", BUILDER).check()
    start(docker, "reuser", PLAIN)
    assert _address(docker, "reuser") == address
    assert fetch(docker, "reuser", BY_ADDRESS).ok
    docker.run("start", BUILDER).check()
    assert not fetch(docker, BUILDER, BY_ADDRESS).ok
    remove(docker, BUILDER, "reuser")


def _address(docker: Docker, name: str) -> str:
    form = "{{.NetworkSettings.IPAddress}}"
    return docker.run("inspect", "--format", form, name).check().out.strip()


def test_after_a_restart_of_dockerd(covering: Ramnet, docker: Docker, capture: Capture) -> None:
    docker.restart()
    start(docker, BUILDER, BUILDKIT, command=FETCH.format(at.FILES_BLOCKED.ipv4))
    assert sentence(at.FILES_BLOCKED.name) in said(docker, BUILDER, BLOCKED)
    assert not stray(capture)
    remove(docker, BUILDER)


@pytest.fixture
def second(lab: Lab) -> Iterator[Docker]:
    """Another dockerd in the same network namespace, on a bridge that its owner made for it."""
    docker = lab.second_docker("other")
    for command in (
        "link add other0 type bridge",
        "address add 172.30.0.1/24 dev other0",
        "link set other0 up",
    ):
        lab.vm.run(["ip", *command.split()]).check()
    # With "none" it would take docker0 from the first.
    docker.start(config={"bridge": "other0"})
    docker.run("pull", PLAIN).check()
    docker.run("tag", PLAIN, BUILDKIT).check()
    yield docker
    if docker.process is not None:
        docker.forget()
        docker.stop()
    lab.vm.run(["ip", "link", "del", "other0"])


def test_a_second_dockerd_in_the_namespace_is_followed_as_well(
    covering: Ramnet, docker: Docker, second: Docker, capture: Capture
) -> None:
    """Both are heard: who is covered, and who is another, on the bridges of either."""
    start(docker, NEARER, BUILDKIT)
    start(docker, "plain", PLAIN)
    start(second, "buildx_buildkit_far0", BUILDKIT)
    start(second, "aside", PLAIN)
    wait_until("both", lambda: {NEARER, "buildx_buildkit_far0"} <= _covered(covering), 20)
    assert sentence(at.FILES_BLOCKED.name) in said(second, "buildx_buildkit_far0", BLOCKED)
    allowed = fetch(second, "buildx_buildkit_far0", f"http://{at.FILES_ALLOWED.name}/hello.txt")
    assert allowed.ok, allowed.err
    assert not stray(capture)
    others = {_address(docker, "plain"), _address(second, "aside")}
    assert set(_cover(covering)["other_addresses"]) == others  # type: ignore[call-overload]
    bridges = _cover(covering)["bridges"]
    remove(second, "buildx_buildkit_far0", "aside")
    wait_until("removals", lambda: "buildx_buildkit_far0" not in _covered(covering), 10)
    start(second, "buildx_buildkit_far1", BUILDKIT)
    wait_until("it is heard", lambda: "buildx_buildkit_far1" in _covered(covering), 10)
    second.stop()
    others = {_address(docker, "plain")}
    wait_until("its end", lambda: set(_cover(covering)["other_addresses"]) == others, 10)  # type: ignore[call-overload]
    # Whoever starts it again finds its bridge covered.
    wait_until("one problem less", lambda: _cover(covering)["problem"] is None, 10)
    assert _cover(covering)["bridges"] == bridges
    assert sentence(at.FILES_BLOCKED.name) in said(docker, NEARER, BLOCKED)
    assert fetch(docker, "plain", BY_ADDRESS).ok
    remove(docker, NEARER, "plain")


def _covered(service: Ramnet) -> set[str]:
    return set(dict(_cover(service)["covered"]).values())  # type: ignore[call-overload]


def test_a_bridge_with_a_way_out_is_told_as_not_covered(
    covering: Ramnet, lab: Lab, docker: Docker, capture: Capture
) -> None:
    """A tunnel to another machine becomes a port of it: what is switched there needs no rule."""
    # Where bridges are filtered the kernel asks our rules as well, until somebody says otherwise.
    filtered = lab.vm.run(["cat", _FILTERED]).out.strip()
    lab.vm.run(["sh", "-c", f"echo 0 >{_FILTERED}"])
    start(docker, OUTWARD, BUILDKIT, "--network", "whole")
    wait_until("it is covered", lambda: OUTWARD in _covered(covering), 10)
    subnet = "{{(index .IPAM.Config 0).Subnet}}"
    network = docker.run("network", "inspect", "--format", subnet, "whole").check().out.strip()
    far = str(ipaddress.ip_network(network)[-2])
    ends = (lab.vm, at.VM_UPLINK, at.INET_IPV4), (lab.inet, at.INET_UPLINK, at.VM_IPV4)
    for host, link, peer in ends:
        tunnel = f"ip link add out.5 type vxlan id 5 remote {peer} dstport 4789 dev {link}"
        host.run(tunnel.split()).check()
    try:
        lab.inet.run(["ip", "address", "add", f"{far}/32", "dev", "out.5"]).check()
        lab.inet.run(["ip", "link", "set", "out.5", "up"]).check()
        lab.inet.run(["ip", "route", "add", network, "dev", "out.5"]).check()
        ping = ["exec", OUTWARD, "ping", "-c", "1", "-W", "2", far]
        assert not docker.run(*ping).ok
        lab.vm.run(["ip", "link", "set", "out.5", "master", "builders0", "up"]).check()
        wait_until("it is told", lambda: OUTWARD not in _covered(covering), 10)
        wait_until("the port forwards", lambda: docker.run(*ping).ok, 20)  # it is true
        told = dict(_cover(covering)["not_covered"])  # type: ignore[call-overload]
        assert told.keys() == {OUTWARD, "bridge:builders0"}
        assert all("leads out of this machine by its port out.5" in why for why in told.values())
        warnings = covering.status()["warnings"]
        assert any("bridge:builders0 is NOT covered" in line for line in warnings)
        found = {each["code"]: each for each in covering_caveats(covering)}
        assert found["buildx-docker-container"]["state"] == "active"
    finally:
        for host in (lab.vm, lab.inet):
            host.run(["ip", "link", "del", "out.5"])
        lab.vm.run(["sh", "-c", f"echo {filtered} >{_FILTERED}"])
    wait_until("it is covered again", lambda: OUTWARD in _covered(covering), 10)
    remove(docker, OUTWARD)


def test_a_whole_bridge_and_a_flush_of_the_rules(
    covering: Ramnet, docker: Docker, capture: Capture
) -> None:
    """Nothing tells this one but the bridge that it is on."""
    covering.down()
    covering.close()
    start(docker, "old", PLAIN, "--network", "whole")
    hold = f"(echo GET / HTTP/1.0; sleep 600) | nc {at.FILES_BLOCKED.ipv4} 80"
    docker.run("exec", "--detach", "old", "sh", "-c", hold).check()
    covering.start(POLICY, config=CONFIG)
    capture.clear()
    assert not fetch(docker, "old", BY_ADDRESS).ok
    docker.vm.run(["nft", "delete", "table", "inet", "ramnetcover_dockerd"]).check()
    wait_until("the rules", partial(_table_stands, docker), 10)
    assert not fetch(docker, "old", BY_ADDRESS).ok
    remove(docker, "old")
    covering.down().check()
    assert not _table_stands(docker)


def _table_stands(docker: Docker) -> bool:
    return docker.vm.run(["nft", "list", "table", "inet", "ramnetcover_dockerd"]).ok
