"""ClientHellos by the letter of RFC 8446, RFC 6066, RFC 7301 and RFC 9849, and beside it."""

from pathlib import Path

import pytest

from ramnet.wire.result import ABSENT, Malformed, NeedMore
from ramnet.wire.tls import (
    ACCESS_DENIED,
    MAX_HELLO,
    MAX_RECORDS,
    ClientHello,
    alert,
    read_client_hello,
)

from . import hello
from .contract import check_beginnings

NAME = hello.server_name(b"registry.example")
HELLOS = sorted((Path(__file__).parent / "hellos").glob("*.hex"))
SSLV2 = bytes.fromhex("802e0103010015000000100700c0030080010080")


def read(data: bytes) -> ClientHello:
    result = check_beginnings(read_client_hello, data)
    assert isinstance(result, ClientHello), result
    return result


def reason(data: bytes) -> str:
    result = check_beginnings(read_client_hello, data)
    assert isinstance(result, Malformed), result
    return result.reason


@pytest.mark.parametrize("path", HELLOS, ids=lambda path: path.stem)
def test_real_hellos_are_read(path: Path) -> None:
    """Sent by OpenSSL 3.0, curl 7.88 and, in Go, docker 28, dockerd 20.10, docker-registry 2.8."""
    data = bytes.fromhex(path.read_text())
    result = read(data)
    named = not path.stem.endswith("noservername")
    assert result.server_name == ("registry.example" if named else ABSENT)
    assert result.length == len(data)
    assert 0x0303 in result.versions


def test_what_a_hello_says() -> None:
    data = hello.record(
        hello.message(
            [
                (0x1A1A, b""),
                hello.server_name(b"Registry.Example."),
                hello.alpn(b"h2", b"http/1.1"),
                hello.supported_versions(0x2A2A, 0x0304, 0x0303),
                hello.encrypted(0),
            ]
        )
    )
    assert read(data) == ClientHello(
        server_name="Registry.Example.",
        alpn=(b"h2", b"http/1.1"),
        ech=True,
        versions=(0x0304, 0x0303),
        length=len(data),
    )


def test_a_hello_of_tls_1_0_without_extensions() -> None:
    for extensions in (None, ()):
        data = hello.record(hello.message(extensions, version=0x0301))
        assert read(data) == ClientHello(ABSENT, ABSENT, False, (0x0301,), len(data))


@pytest.mark.parametrize("sizes", [(1,), (3, 1), (4,), (100, 7, 1, 1), (1,) * (MAX_RECORDS - 1)])
def test_a_hello_over_several_records(sizes: tuple[int, ...]) -> None:
    data = hello.records(hello.message([NAME, (51, b"q" * 1216)]), sizes)
    assert read(data).server_name == "registry.example"
    assert read(data).length == len(data)


def test_a_hello_as_large_as_allowed() -> None:
    filler = MAX_HELLO - len(hello.message([NAME, (51, b"")])) + 4
    data = hello.records(hello.message([NAME, (51, b"q" * filler)]), (16384,) * 4)
    result = read_client_hello(data)
    assert isinstance(result, ClientHello)
    assert result.server_name == "registry.example"
    too_long = hello.records(hello.message([NAME, (51, b"q" * (filler + 1))]), (16384,) * 4)
    assert isinstance(read_client_hello(too_long[:9]), Malformed)


@pytest.mark.parametrize("version", [0x0300, 0x0301, 0x0303, 0x0304, 0x03FF])
def test_any_3_x_record_version(version: int) -> None:
    assert read(hello.record(hello.message(), version=version)).server_name == "registry.example"


def test_what_follows_the_hello_is_not_looked_at() -> None:
    whole = hello.message()
    assert read(hello.record(whole + b"\x14junk") + b"early data").length == 5 + len(whole)


def test_the_inner_type_of_ech_hides_nothing() -> None:
    assert read(hello.record(hello.message([NAME, hello.encrypted(1)]))).ech is False


def test_need_more_asks_for_the_header_then_the_record() -> None:
    data = hello.records(hello.message(), (40,))
    assert read_client_hello(b"") == NeedMore(1)
    assert read_client_hello(data[:2]) == NeedMore(5)
    assert read_client_hello(data[:5]) == NeedMore(9)
    assert read_client_hello(data[:9]) == NeedMore(45)
    assert read_client_hello(data[:45]) == NeedMore(50)
    assert read_client_hello(data[:50]) == NeedMore(len(data))


def test_need_more_does_not_wait_for_the_rest_of_a_record() -> None:
    """A record may hold more than the hello; its end may never come."""
    whole = hello.message()
    data = hello.record(whole + b"x" * 200)
    assert read_client_hello(data[:9]) == NeedMore(5 + len(whole))


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f",  # PostgreSQL asking for TLS
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x04\x00\x00\x00\x05\x00\x00\x00\x00",  # Cassandra
        b"\x80\x00\x00\x28\x00\x00\x00\x01",  # ONC RPC
        b"\x80\x2e\x01\x07\x00",
        b"\x80\x2e\x01\x00\x03",
        b"\x15\x41",
    ],
)
def test_other_protocols_are_absent(data: bytes) -> None:
    assert check_beginnings(read_client_hello, data) is ABSENT


@pytest.mark.parametrize("version", ["0002", "0300", "0301", "0303"])
def test_an_sslv2_hello_is_malformed(version: str) -> None:
    """OpenSSL answers it, and it has no name: as ABSENT it would pass for another protocol."""
    reason(SSLV2[:3] + bytes.fromhex(version) + SSLV2[5:])


@pytest.mark.parametrize("kind", [20, 21, 23, 24])
def test_another_record_before_the_hello_is_malformed(kind: int) -> None:
    """Go skips a warning alert there and then reads the hello."""
    reason(hello.record(b"\1\0", kind=kind) + hello.record(hello.message()))


@pytest.mark.parametrize("kind", [20, 21, 23, 24, 99])
def test_another_record_inside_the_hello_is_malformed(kind: int) -> None:
    whole = hello.message()
    first, second, third = (hello.record(part) for part in (whole[:20], whole[20:40], whole[40:]))
    reason(first + hello.record(whole[20:40], kind=kind) + third)
    reason(first + hello.record(b"\1\0", kind=kind) + second + third)


def test_records_that_break_the_rules() -> None:
    whole = hello.message()
    reason(hello.record(b"") + hello.record(whole))
    reason(hello.record(whole[:20]) + hello.record(b"") + hello.record(whole[20:]))
    reason(hello.record(whole, version=0x0203))
    reason(hello.record(whole[:20]) + hello.record(whole[20:], version=0x0401))
    reason(hello.record(b"\1\0\x60\0" + b"x" * 16381)[:9])
    reason(hello.records(whole, (1,) * MAX_RECORDS))
    reason(hello.record(hello.message(kind=2)))


@pytest.mark.parametrize(
    "extensions",
    [
        [hello.server_name(b"a.example", b"b.example")],
        [hello.server_name(b"a.example"), hello.server_name(b"b.example")],
        [hello.server_name(b"a.example", kind=1)],
        [hello.server_name()],
        [hello.server_name(b"")],
        [(0, b"")],
        [(0, hello.server_name(b"a.example")[1] + b"\0")],
        [hello.server_name(b"a.example\0.b.example")],
        [hello.server_name(b"b\xc3\xbccher.example")],
        [hello.server_name(b"a b.example")],
        [hello.server_name(b"a" * 256)],
        [hello.server_name(b"192.0.2.1")],
        [hello.server_name(b"192.0.2.1.")],
        [hello.server_name(b"2001:db8::1")],
        [hello.server_name(b"0x7f.1")],
        [hello.server_name(b"127.0x1")],
        [(0, b"\0\x20\0\0\x09a.example")],
        [(0, b"\0\x0c\0\0\x0aa.example")],
        [(0, b"\0\x0b\0\0\x09a.example")],
        [hello.server_name(b"3221225985")],
        [NAME, (16, b"")],
        [NAME, hello.alpn()],
        [NAME, hello.alpn(b"h2", b"")],
        [NAME, (16, hello.alpn(b"h2")[1] + b"\0")],
        [NAME, (43, b"\0")],
        [NAME, (43, b"\3\3\4\3")],
        [NAME, (43, b"\2\3\4\3")],
        [NAME, (0xFE0D, b"")],
        [NAME, hello.encrypted(2)],
        [NAME, (51, b""), (51, b"")],
    ],
)
def test_extensions_that_break_the_rules(extensions: list[hello.Extension]) -> None:
    reason(hello.record(hello.message(extensions)))


def test_hellos_that_break_the_rules() -> None:
    reason(hello.record(hello.message(version=0x0203)))
    reason(hello.record(hello.message(session_id=b"s" * 33)))
    reason(hello.record(hello.message(suites=b"")))
    reason(hello.record(hello.message(suites=b"\x13\x01\x13")))
    reason(hello.record(hello.message(compression=b"")))
    reason(hello.record(hello.message(tail=b"\0")))
    reason(hello.record(hello.message(None, tail=b"\0\4\0\0\0\1")))
    reason(hello.record(b"\1" + hello.vector(3, b"\3\3")))


def test_the_longest_name_is_read() -> None:
    name = b".".join([b"a" * 63] * 4)
    assert read(hello.record(hello.message([hello.server_name(name)]))).server_name == name.decode()


def test_alert() -> None:
    assert alert(ACCESS_DENIED) == bytes.fromhex("15030300020231")
