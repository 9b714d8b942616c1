"""The pure parts, as scripts of events: bytes in, actions out."""

import socket

import pytest

from ramnet.errors import PolicyError
from ramnet.gate.judge import Judge
from ramnet.gate.proxy.conversation import (
    Answer400,
    Conversation,
    Deny,
    Ended,
    Finish,
    Forward,
    ToProxy,
)
from ramnet.gate.proxy.decision import (
    ByAddress,
    Connect,
    Converse,
    DenyHttp,
    DenyTls,
    Drop,
    Pass,
    Proxied,
    ProxiedSocks,
    Role,
    decide_opening,
)
from ramnet.gate.proxy.destination import Destination, Nearness
from ramnet.gate.proxy.dial import order
from ramnet.gate.proxy.opening import GONE, OPAQUE, Broken, read_opening
from ramnet.gate.proxy.ruling import rule
from ramnet.gate.spec import Surroundings
from ramnet.policy import Policy, Verdict, compile_policy, read_document
from ramnet.wire.http import Chunked, Length, NoBody
from ramnet.wire.result import NeedMore
from tests.gate.proxy.rig import POLICY, compiled, hello

JUDGE = Judge(compiled(POLICY))
FREE = Judge(compiled('{"enabled": false, "standard_registries": [], "custom_registries": []}'))

GET = b"GET / HTTP/1.1\r\nHost: good.example\r\n\r\n"
BAD = GET.replace(b"good", b"bad")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SOCKS = b"\x05\x01\x00"

TABLE = [
    # bytes, then what follows for FAR, GIVEN, NEAR, TUNNEL, EXPLICIT
    (hello("good.example"), Connect, Connect, Pass, Connect, Drop),
    (hello("GOOD.example."), Connect, Connect, Pass, Connect, Drop),
    (hello("bad.example"), DenyTls, DenyTls, Pass, DenyTls, Drop),
    (hello("denied.example"), DenyTls, DenyTls, DenyTls, DenyTls, Drop),
    (hello(None), Drop, Drop, Pass, Pass, Drop),
    (b"\x16\x03\x01\x00\x00", Drop, Drop, Pass, Drop, Drop),
    (GET, Converse, Converse, Converse, Converse, DenyHttp),
    (BAD, Converse, Converse, Converse, Converse, DenyHttp),
    (b"CONNECT a.example:1 HTTP/1.1\r\n\r\n", Proxied, Proxied, Proxied, DenyHttp, Proxied),
    (b"GET http://a.example/ HTTP/1.1\r\n\r\n", Proxied, Proxied, Proxied, DenyHttp, Proxied),
    (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", DenyHttp, DenyHttp, DenyHttp, DenyHttp, DenyHttp),
    (PREFACE, Drop, Drop, Pass, Drop, Drop),
    (SOCKS, ProxiedSocks, ProxiedSocks, ProxiedSocks, Drop, ProxiedSocks),
    (b"\x80opaque", ByAddress, Pass, Pass, Pass, Drop),
    (b"", Drop, Pass, Pass, Pass, Drop),
]


@pytest.mark.parametrize(
    ("data", "role", "action"),
    [(row[0], role, action) for row in TABLE for role, action in zip(Role, row[1:], strict=True)],
)
def test_the_table(data: bytes, role: Role, action: type) -> None:
    opening = read_opening(data, ended=not data)
    assert not isinstance(opening, NeedMore)
    assert isinstance(decide_opening(opening, role, JUDGE, 443), action)


@pytest.mark.parametrize(
    "data", [hello("good.example"), GET, SOCKS, b"\x04\x01\0\x01\x01\x01\x01\x01\0"]
)
def test_an_opening_is_the_same_however_it_is_cut(data: bytes) -> None:
    whole = read_opening(data, ended=False)
    for size in range(1, len(data)):
        part = read_opening(data[:size], ended=False)
        assert isinstance(part, NeedMore)
        assert size < part.total <= len(data)
        assert isinstance(read_opening(data[:size], ended=True), Broken)
    assert read_opening(data, ended=True) == whole


def test_nothing_said() -> None:
    assert read_opening(b"", ended=False) == NeedMore(1)
    assert read_opening(b"", ended=True) is GONE
    assert read_opening(b"\x04\x00cassandra", ended=False) is OPAQUE


@pytest.mark.parametrize(
    ("host", "port", "far", "near"),
    [
        ("good.example", 443, True, True),
        ("GOOD.Example.", 443, True, True),
        ("bad.example", 443, False, True),
        ("denied.example", 443, False, False),
        ("ports.example", 5000, True, True),
        ("ports.example", 443, False, True),
        ("127.0.0.1", 443, False, True),
        ("[::1]", 443, False, True),
        ("2130706433", 443, False, True),
        ("a b", 443, False, True),
        ("", 443, False, True),
    ],
)
def test_rulings(host: str, port: int, far: bool, near: bool) -> None:
    assert rule(JUDGE, host, port).allowed is far
    assert rule(JUDGE, host, port, near=True).allowed is near


def test_where_nothing_is_restricted_an_address_is_as_good_as_a_name() -> None:
    assert rule(FREE, "192.0.2.1", 443).allowed
    assert rule(FREE, "bad.example", 443).allowed


def test_a_ruling_stands_only_while_the_policy_says_so() -> None:
    judge = Judge(compiled(POLICY))
    ruling = rule(judge, "good.example", 443)
    assert ruling.stands(judge)
    judge.replace(Policy.empty("none"))
    assert not ruling.stands(judge)


def test_a_damaged_policy_allows_nothing() -> None:
    class Damaged(Policy):
        def decide(self, name: str, port: int | None = None) -> Verdict:
            raise PolicyError("damaged")

    document = read_document(POLICY.encode(), source="test")
    judge = Judge(Damaged(compile_policy(document)))
    assert not rule(judge, "good.example", 443).allowed
    assert not rule(judge, "good.example", 443, near=True).allowed


def test_addresses_in_order_of_the_clients_choice() -> None:
    four, six = "192.0.2.1", "2001:db8::1"
    assert order([four, "192.0.2.2", six], "192.0.2.2") == ["192.0.2.2", four, six]
    assert order([four, six], "2001:db8::9") == [six, four]
    assert order([four, six], "198.51.100.1") == [four, six]
    assert order([four, six], None) == [four, six]


def test_what_is_near() -> None:
    nearness = Nearness(("240.0.0.1", None))
    nearness.update(
        Surroundings(
            addresses=["192.0.2.1", "2001:db8::1", "240.0.0.1"],
            networks={"172.17.0.0/16": 3, "fd00::/64": 4},
            resolv_conf="",
            gate_ports=[928],
        )
    )
    near = ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "::ffff:127.0.0.1", "192.0.2.1"]
    near += ["2001:db8:0::1", "172.17.255.1", "fd00::7", "::ffff:172.17.0.9"]
    assert [address for address in near if not nearness.contains(address)] == []
    far = ["192.0.2.2", "172.18.0.1", "fd00:0:0:1::7", "240.0.0.1", "::ffff:192.0.2.2"]
    assert [address for address in far if nearness.contains(address)] == []
    for address in ("127.0.0.1", "::1", "192.0.2.1", "0.0.0.0"):
        assert nearness.is_gate(Destination(address, 928))
        assert not nearness.is_gate(Destination(address, 929))
    assert not nearness.is_gate(Destination("192.0.2.2", 928))


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "172.17.0.2", "fd00::2"])
def test_what_is_near_no_more_is_not_dialled(address: str) -> None:
    """The gate hears of a change a quarter of a second later; this machine never had those."""
    nearness = Nearness((None, None))
    gone = 2**30
    nearness.update(
        Surroundings(
            addresses=["192.0.2.1", "2001:db8::1"],
            networks={"172.17.0.0/16": gone, "fd00::/64": gone},
            resolv_conf="",
            gate_ports=[],
        )
    )
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock, pytest.raises(OSError):
        nearness.keep_near(sock, address)
        sock.connect((address, 9))


def test_requests_for_one_host_are_forwarded_as_they_are() -> None:
    talk = Conversation(JUDGE, Role.FAR, 80)
    first = talk.read(GET + b"rest", ended=False)
    assert isinstance(first, Forward)
    assert (first.head, first.length, first.body) == (GET, len(GET), NoBody())
    post = GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n")
    second = talk.read(post, ended=False)
    assert isinstance(second, Forward)
    assert second.body == Length(5)
    chunked = post.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    third = talk.read(chunked, ended=False)
    assert isinstance(third, Forward)
    assert third.body == Chunked()
    assert talk.read(b"", ended=False) == NeedMore(1)
    assert isinstance(talk.read(b"", ended=True), Ended)


@pytest.mark.parametrize(
    ("request_", "first", "later"),
    [
        (BAD, Deny, Finish),
        (GET.replace(b"good", b"also"), Forward, Finish),
        (b"GET / HTTP/1.1\r\n\r\n", Answer400, Finish),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Answer400, Finish),
        (b"\0\0", Answer400, Finish),
        (PREFACE, Answer400, Finish),
        (b"CONNECT good.example:443 HTTP/1.1\r\n\r\n", ToProxy, Finish),
        (b"GET http://good.example/ HTTP/1.1\r\nHost: good.example\r\n\r\n", ToProxy, Finish),
        (GET.replace(b"\r\n\r\n", b"\r\nUpgrade: x\r\n\r\n"), Forward, Finish),
        (GET.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n"), Forward, Forward),
    ],
)
def test_what_a_request_leads_to_first_and_later(request_: bytes, first: type, later: type) -> None:
    assert isinstance(Conversation(JUDGE, Role.FAR, 80).read(request_, ended=False), first)
    talk = Conversation(JUDGE, Role.FAR, 80)
    assert isinstance(talk.read(GET, ended=False), Forward)
    assert isinstance(talk.read(request_, ended=False), later)


def test_near_only_a_denied_name_and_a_proxy_request_are_refused() -> None:
    talk = Conversation(JUDGE, Role.NEAR, 80)
    to_address = GET.replace(b"good.example", b"127.0.0.1")
    for request in (BAD, GET, b"GET / HTTP/1.0\r\n\r\n", to_address):
        assert isinstance(talk.read(request, ended=False), Forward)
    refused = talk.read(GET.replace(b"good", b"denied"), ended=False)
    assert isinstance(refused, Finish)
    assert refused.refused is not None
    assert isinstance(talk.read(b"CONNECT a.example:1 HTTP/1.1\r\n\r\n", ended=False), Finish)


def test_after_an_upgrade_to_http2_was_taken_out_nothing_follows() -> None:
    talk = Conversation(JUDGE, Role.FAR, 80)
    step = talk.read(GET.replace(b"\r\n\r\n", b"\r\nUpgrade: h2c\r\n\r\n"), ended=False)
    assert isinstance(step, Forward)
    assert b"pgrade" not in step.head
    assert step.last
    assert not step.upgrade
    assert isinstance(talk.read(GET, ended=False), Finish)
