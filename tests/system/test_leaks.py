"""The doors that people try: each is tried, and the uplink shows that nothing left by it."""

from __future__ import annotations

import pytest

from tests.lab import Capture, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import TIERS, sentence, stray

pytestmark = [pytest.mark.lab, TIERS]

BLOCKED = at.REGISTRY_BLOCKED
BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
_CURL = ["curl", "--silent", "--show-error", "--include", "--max-time", "5", "--noproxy", "*"]


def url_host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@BOTH
@pytest.mark.parametrize("way", ["+notcp", "+tcp"])
def test_another_resolver(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, way: str
) -> None:
    asked = vm.run(
        ["dig", f"@{at.FOREIGN_RESOLVER.addresses[family]}", BLOCKED.name, way, "+short", "+time=3"]
    ).check()
    assert asked.out.strip() == "240.0.0.1"
    asked = vm.run(
        ["dig", f"@{at.FOREIGN_RESOLVER.addresses[family]}", at.CDN.name, way, "+short", "+time=3"]
    ).check()
    assert asked.out.strip() == at.CDN.ipv4  # not what the foreign one says of every name
    assert not stray(capture)


@BOTH
def test_dns_over_tls(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    server = url_host(at.FOREIGN_RESOLVER.addresses[family])
    asked = vm.run(["openssl", "s_client", "-connect", f"{server}:853"], seconds=5)
    assert "refused" in asked.text
    assert not stray(capture)


_UDP = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.settimeout(4)
    sock.connect((address, port))
    try:
        for _ in range(3):
            sock.send(b"out")
            sock.recv(64)
    except TimeoutError:
        sys.exit("silence")
    except OSError:
        sys.exit(0)
    sys.exit("answered")
"""


@BOTH
@pytest.mark.parametrize("port", [80, 123, 443, 853, 1194, 4500, 51820])
def test_udp_and_quic(enforced: Ramnet, vm: Vm, capture: Capture, family: int, port: int) -> None:
    address = at.REGISTRY_ALLOWED.addresses[family]
    vm.run(["python3", "-c", _UDP, address, str(port)]).check()
    assert not stray(capture)


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_raw_address(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, scheme: str
) -> None:
    address = BLOCKED.addresses[family]
    got = vm.run([*_CURL, "--insecure", f"{scheme}://{url_host(address)}/"])
    assert " 200 " not in got.out
    assert got.seconds < 3
    assert not stray(capture)


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_raw_address_of_an_allowed_host(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, scheme: str
) -> None:
    """An address alone opens nothing, even one that an allowed name resolves to."""
    address = at.FILES_ALLOWED.addresses[family]
    vm.run(["getent", "ahosts", at.FILES_ALLOWED.name])
    got = vm.run([*_CURL, "--insecure", f"{scheme}://{url_host(address)}/hello.txt"])
    assert "hello from" not in got.out
    assert not stray(capture).protocol("tcp")


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_hosts_file_entry(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, scheme: str
) -> None:
    vm.set_hosts({BLOCKED.name: BLOCKED.addresses[family]})
    try:
        got = vm.run([*_CURL, "--insecure", f"{scheme}://{BLOCKED.name}/v2/"])
    finally:
        vm.set_hosts({})
    assert sentence(BLOCKED.name) in got.out
    assert not stray(capture)


def resolved(site: at.Site, address: str) -> list[str]:
    return ["--resolve", f"{site.name}:443:{url_host(address)}",
            "--resolve", f"{site.name}:80:{url_host(address)}"]  # fmt: skip


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_blocked_name_at_an_allowed_address(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, scheme: str
) -> None:
    options = resolved(BLOCKED, at.FILES_ALLOWED.addresses[family])
    got = vm.run([*_CURL, "--insecure", *options, f"{scheme}://{BLOCKED.name}/hello.txt"])
    assert sentence(BLOCKED.name) in got.out
    assert not stray(capture)


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_allowed_name_at_a_blocked_address(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, scheme: str
) -> None:
    """It goes to its own address, whatever the client had in mind."""
    options = resolved(at.FILES_ALLOWED, at.FILES_BLOCKED.addresses[family])
    got = vm.run([*_CURL, *options, f"{scheme}://{at.FILES_ALLOWED.name}/hello.txt"]).check()
    assert f"hello from {at.FILES_ALLOWED.name}" in got.out
    assert not stray(capture)


_TUNNEL = """
import socket, ssl, sys
proxy, port, outer, inner = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
with socket.create_connection((proxy, port), 5) as sock:
    sock.sendall(f"CONNECT {outer}:443 HTTP/1.1\\r\\nHost: {outer}:443\\r\\n\\r\\n".encode())
    head = sock.recv(4096)
    print(head.split(b"\\r\\n")[0].decode())
    if b" 200 " not in head:
        sys.exit(0)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(sock, server_hostname=inner) as tls:
            tls.sendall(f"GET /hello.txt HTTP/1.1\\r\\nHost: {inner}\\r\\n\\r\\n".encode())
            print(tls.recv(4096).decode())
    except OSError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("proxy", "port"),
    [("127.0.0.1", 3128), (at.ANYWHERE.ipv4, 8080), (at.ANYWHERE.ipv6, 8080)],
    ids=["explicit", "elsewhere-ipv4", "elsewhere-ipv6"],
)
def test_connect_with_another_name_inside(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: str, port: int
) -> None:
    names = at.FILES_ALLOWED.name, at.FILES_BLOCKED.name
    got = vm.run(["python3", "-c", _TUNNEL, proxy, str(port), *names]).check()
    assert got.out.startswith("HTTP/1.1 200 ")
    assert sentence(at.FILES_BLOCKED.name) in got.out
    assert not stray(capture)


@pytest.mark.parametrize(
    ("proxy", "port"),
    [("127.0.0.1", 3128), (at.ANYWHERE.ipv4, 8080), (at.ANYWHERE.ipv6, 8080)],
    ids=["explicit", "elsewhere-ipv4", "elsewhere-ipv6"],
)
def test_connect_is_answered_by_the_gate(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: str, port: int
) -> None:
    name = at.FILES_BLOCKED.name
    refused = vm.run(["python3", "-c", _TUNNEL, proxy, str(port), name, name]).check()
    assert sentence(name) in refused.out
    name = at.FILES_ALLOWED.name
    allowed = vm.run(["python3", "-c", _TUNNEL, proxy, str(port), name, name]).check()
    assert f"hello from {name}" in allowed.out
    assert not stray(capture)


_SPEAK = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
with socket.create_connection((address, port), 5) as sock:
    sock.sendall(sys.stdin.buffer.read())
    while data := sock.recv(65536):
        sys.stdout.write(data.decode("latin-1"))
"""


@BOTH
def test_a_second_pipelined_host(enforced: Ramnet, vm: Vm, capture: Capture, family: int) -> None:
    hosts = at.FILES_ALLOWED.name, at.FILES_BLOCKED.name
    requests = "".join(f"GET /hello.txt HTTP/1.1\r\nHost: {host}\r\n\r\n" for host in hosts)
    address = at.FILES_ALLOWED.addresses[family]
    got = vm.run(["python3", "-c", _SPEAK, address, "80"], stdin=requests, seconds=10)
    assert f"hello from {at.FILES_ALLOWED.name}" in got.out
    assert f"hello from {at.FILES_BLOCKED.name}" not in got.out
    assert not capture.settle().sent_by_vm().mentioning(at.FILES_BLOCKED.name)
    assert not stray(capture)


def test_a_local_proxy_opens_nothing(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    """dockerd 20.10 obeys HTTPS_PROXY=socks5://; a SOCKS request is decided by name too."""
    for scheme, expected in (("socks5h", ""), ("socks4a", ""), ("http", sentence(BLOCKED.name))):
        proxy = f"{scheme}://{at.ANYWHERE.ipv4}:1080"
        command = ["curl", "--silent", "--include", "--max-time", "5", "--proxy", proxy]
        got = vm.run([*command, f"https://{BLOCKED.name}/"])
        assert got.code != 0
        assert expected in got.text
        passed = vm.run([*command, f"https://{at.FILES_ALLOWED.name}/hello.txt"]).check()
        assert f"hello from {at.FILES_ALLOWED.name}" in passed.out
    assert not stray(capture)


def test_http2_without_tls_is_refused(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    url = f"http://{at.FILES_ALLOWED.name}/hello.txt"
    got = vm.run([*_CURL, "--http2-prior-knowledge", url])
    assert got.code != 0
    assert not stray(capture)
    assert not capture.settle().sent_by_vm().port(80)


def test_ping_is_refused(enforced: Ramnet, vm: Vm, capture: Capture) -> None:
    got = vm.run(["busybox", "ping", "-c", "1", "-W", "2", at.ANYWHERE.ipv4])
    assert got.code != 0
    assert not capture.settle().sent_by_vm().protocol("icmp")
