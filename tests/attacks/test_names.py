"""Names spelt so that two readers might take them for two names, and addresses in disguise."""

from __future__ import annotations

import dns.edns
import dns.message
import dns.name
import pytest

from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    EXPLICIT,
    LEAKED,
    OPEN,
    SENTENCE,
    SINKHOLES,
    ask,
    client_hello,
    connect,
    connected,
    get,
    refused_tls,
    resolve,
    speak,
)
from tests.lab import Capture, Packets, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray
from tests.unit.wire import hello

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
LONG = ".".join(["a" * 49] * 4 + ["b" * 37, "blocked.example"])
SPELLINGS = {
    "upper-case": BLOCKED.name.upper(),
    "mixed-case": "fIlEs.BlOcKeD.eXaMpLe",
    "trailing-dot": f"{BLOCKED.name}.",
    "255-byte": LONG,
    "punycode": "xn--fils-npa.blocked.example",
    "punycode-of-ascii": "xn--files-.blocked.example",
    "below-an-allowed-one": f"x.{ALLOWED.name}",
    "beside-an-allowed-one": f"x{ALLOWED.name}",
    "allowed-as-a-label": f"{ALLOWED.name}.blocked.example",
    "underscore": "_files.blocked.example",
}
SPELT = pytest.mark.parametrize("name", SPELLINGS.values(), ids=SPELLINGS)


def tried(capture: Capture) -> Packets:
    """What left for a server, or mentions what is blocked in any spelling."""
    return capture.settle().sent_by_vm().where(
        lambda packet: b"blocked" in packet.data.lower() or b"xn--" in packet.data.lower()
    )  # fmt: skip


def test_the_longest_name_is_as_long_as_names_get() -> None:
    assert len(dns.name.from_text(LONG).to_wire() or b"") == 255


@BOTH
@SPELT
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_in_dns(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, name: str, tcp: bool
) -> None:
    """Among them DNS over TCP (harden-runner, GHSA-g699-3x6g-wm3g) and upper case.

    Shown by: `Judge.decide` allowing every name; the redirect of port 53 left out.
    """
    server = at.FOREIGN_RESOLVER.addresses[family]
    for kind in ("A", "AAAA", "TXT", "HTTPS"):
        told = resolve(vm, name, kind, server=server, tcp=tcp)
        assert told <= SINKHOLES
    assert not stray(capture)
    assert not tried(capture)


@pytest.mark.parametrize(
    "name", [ALLOWED.name.upper(), f"{ALLOWED.name}.", "FiLeS.aLLoWeD.eXaMpLe"]
)
def test_an_allowed_name_is_one_name_however_spelt(
    enforced: Ramnet, vm: Vm, capture: Capture, name: str
) -> None:
    """Nor is its case a channel (OpenShell, 0x20): upstream reads it in small letters.

    Shown by: `read_question` keeping the case of the name.
    """
    assert resolve(vm, name) == {ALLOWED.ipv4}
    assert resolve(vm, name, "TXT") == set()
    assert OPEN in speak(vm, BLOCKED.ipv4, 80, get(name))
    asked = [packet.payload[12:] for packet in capture.settle().sent_by_vm() if packet.dns_name]
    assert asked == [question.lower() for question in asked]
    assert not stray(capture)


@BOTH
@SPELT
def test_in_a_server_name(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, name: str
) -> None:
    """Shown by: `Judge.decide` allowing every name."""
    with connected(vm, ALLOWED.addresses[family], 443) as sock:
        sock.sendall(hello.record(client_hello(name)))
        assert refused_tls(sock)
    assert not stray(capture)
    assert not tried(capture)


@BOTH
@SPELT
def test_in_a_host_field(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, name: str
) -> None:
    """Shown by: `Judge.decide` allowing every name."""
    answer = speak(vm, ALLOWED.addresses[family], 80, get(name))
    assert SENTENCE in answer
    assert not stray(capture)
    assert not tried(capture)


@SPELT
@pytest.mark.parametrize("proxy", [EXPLICIT, (at.ANYWHERE.ipv6, 8080)], ids=["explicit", "far"])
def test_in_a_connect(
    enforced: Ramnet, vm: Vm, capture: Capture, name: str, proxy: tuple[str, int]
) -> None:
    """Shown by: `Judge.decide` allowing every name."""
    assert SENTENCE in speak(vm, *proxy, connect(f"{name}:443"))
    assert not stray(capture)
    assert not tried(capture)


_DOTLESS = int.from_bytes(bytes(map(int, BLOCKED.ipv4.split("."))), "big")
NUMBERS = {
    "dotted": BLOCKED.ipv4,
    "decimal": str(_DOTLESS),
    "octal": "0" + oct(_DOTLESS)[2:],
    "octal-parts": "0313.0.0161.020",
    "hex": hex(_DOTLESS),
    "hex-parts": "0xcb.0x00.0x71.0x10",
    "short": "203.0.28944",
    "trailing-dot": f"{BLOCKED.ipv4}.",
    "ipv6": f"[{BLOCKED.ipv6}]",
    "ipv4-mapped": f"[::ffff:{BLOCKED.ipv4}]",
    "nat64": "[64:ff9b::203.0.113.16]",
}


@pytest.mark.parametrize("host", NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("where", ["host", "connect", "absolute", "curl", "curl-by-proxy"])
def test_a_raw_address(enforced: Ramnet, vm: Vm, capture: Capture, host: str, where: str) -> None:
    """Decimal, octal, hex, short, IPv4 within IPv6 (also smokescreen's NAT64 and brackets).

    Shown by: `rule` allowing addresses.
    """
    curl = ["curl", "-gsS", "--max-time", "3", "--noproxy", "" if "proxy" in where else "*"]
    match where:
        case "host":
            answer = speak(vm, BLOCKED.ipv4, 80, get(host))
        case "connect":
            answer = speak(vm, *EXPLICIT, connect(f"{host}:80"), get(BLOCKED.name))
        case "absolute":
            answer = speak(vm, *EXPLICIT, get(host, f"http://{host}/hello.txt"))
        case "curl":
            answer = vm.run([*curl, f"http://{host}/hello.txt"]).out
        case _:
            proxy = ["--proxy", "http://127.0.0.1:3128", "--proxytunnel"]
            answer = vm.run([*curl, *proxy, f"http://{host}/hello.txt"]).out
    assert LEAKED not in answer
    assert OPEN not in answer
    assert not stray(capture).protocol("tcp", "udp")


@pytest.mark.parametrize("server", ["1.1.1.1", "8.8.8.8", at.FOREIGN_RESOLVER.ipv6])
def test_dns_over_https(enforced: Ramnet, vm: Vm, capture: Capture, server: str) -> None:
    """To known resolvers by name and by address (harden-runner, GHSA-46g3-37rh-v698).

    Shown by: `Judge.decide` allowing every name.
    """
    host = f"[{server}]" if ":" in server else server
    for url in (f"https://{host}/dns-query", "https://dns.google/dns-query",
                "https://cloudflare-dns.com/dns-query"):  # fmt: skip
        asked = vm.run(["curl", "-gsSk", "--max-time", "4", f"{url}?name={BLOCKED.name}&type=A"])
        assert BLOCKED.ipv4 not in asked.out
        assert "you reached" not in asked.out
    assert not stray(capture)


@BOTH
def test_dns_tunnelling(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    """OpenShell: data in names. Nothing of a name that is refused reaches any server.

    Shown by: `Rulings._refused` asking upstream.
    """
    for number in range(20):
        name = f"{'5ec7e7' * 10}{number}.tunnel.example"
        for server in (at.RESOLVER.ipv4, at.FOREIGN_RESOLVER.addresses[family]):
            assert resolve(vm, name, "TXT", server=server) == set()
    assert not stray(capture)
    assert not capture.settle().sent_by_vm().where(lambda p: b"5ec7e7" in p.data)


def test_what_a_question_carries_beside_its_name(
    enforced: Ramnet, vm: Vm, capture: Capture
) -> None:
    """EDNS options, cookies and the id are a channel too: none of the client's passes.

    Nothing to take out: what is sent on is a message of our own, made of a name and a type.
    """
    query = dns.message.make_query(ALLOWED.name, "MX", use_edns=0)
    query.use_edns(0, 0, 1232, options=[dns.edns.GenericOption("NSID", b"5ec7e7" * 20)])
    assert ask(vm, at.RESOLVER.ipv4, query) is not None
    assert not capture.settle().sent_by_vm().where(lambda p: b"5ec7e7" in p.data)
    assert not stray(capture)
