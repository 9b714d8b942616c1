"""The real thing at both ends: dnsmasq and unbound as upstreams, dig as the client."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from tests.gate.resolver.service import SINKHOLE4, Service, same_port

DATAGRAM, STREAM = socket.SOCK_DGRAM, socket.SOCK_STREAM
DNSMASQ = """
port={port}
listen-address=127.0.0.1
bind-interfaces
no-resolv
no-hosts
keep-in-foreground
user=root
pid-file=
local-ttl=120
address=/www.allowed.example/198.51.100.7
address=/www.allowed.example/2001:db8:1::7
address=/loop.allowed.example/127.0.0.1
cname=alias.allowed.example,target.other.example
host-record=target.other.example,198.51.100.8
local=/allowed.example/
"""
UNBOUND = """
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{directory}"
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  local-zone: "allowed.example." static
  local-data: "allowed.example. 300 SOA ns.example. root.example. 1 2 3 4 60"
  local-data: "www.allowed.example. 300 A 198.51.100.7"
  local-data: "www.allowed.example. 300 AAAA 2001:db8:1::7"
  local-data: "loop.allowed.example. 300 A 127.0.0.1"
  local-data: "alias.allowed.example. 300 CNAME target.other.example."
  local-zone: "other.example." static
  local-data: "target.other.example. 300 A 198.51.100.8"
  {many}
remote-control:
  control-enable: no
"""
COMMANDS = {
    "dnsmasq": (DNSMASQ, ["dnsmasq", "--conf-file={file}"]),
    "unbound": (UNBOUND, ["unbound", "-d", "-p", "-c", "{file}"]),
}
MANY = "\n  ".join(f'local-data: "many.allowed.example. 300 A 10.0.0.{n}"' for n in range(1, 201))


@contextmanager
def serving(program: str, directory: Path) -> Iterator[str]:
    """Run a real server until the block ends."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    server, port = _started(program, directory)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def _started(program: str, directory: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A server that answers, on a port that nobody took before it could."""
    text, argv = COMMANDS[program]
    file = directory / f"{program}.conf"
    for _ in range(5):
        probes = same_port(*((kind, socket.AF_INET) for kind in (DATAGRAM, STREAM)))
        port = probes[0].getsockname()[1]
        for probe in probes:
            probe.close()
        file.write_text(text.format(port=port, directory=directory, many=MANY))
        command = [part.format(file=file) for part in argv]
        server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        if _answers(port, server):
            return server, port
        server.kill()
        server.wait(10)
    pytest.fail(f"{program} does not start")


def _answers(port: int, server: subprocess.Popen[bytes]) -> bool:
    """Wait until it does; each try waits for an answer or an ICMP error, at most 0.2 s."""
    query = dns.message.make_query("www.allowed.example", "A")
    while server.poll() is None:
        with contextlib.suppress(OSError, dns.exception.Timeout):
            dns.query.udp(query, "127.0.0.1", port=port, timeout=0.2)
            return True
    return False


@pytest.fixture(params=sorted(COMMANDS))
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    with serving(request.param, tmp_path) as upstream, Service([upstream]) as running:
        yield running


Dig = Callable[..., str]


@pytest.fixture
def dig(service: Service) -> Dig:
    def run(*arguments: str) -> str:
        argv = ["dig", "@127.0.0.1", "-p", str(service.port), "+tries=1", *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout

    return run


def test_allowed_names_are_resolved(dig: Dig) -> None:
    for transport in ("+notcp", "+tcp"):
        assert dig(transport, "+short", "www.allowed.example", "A") == "198.51.100.7\n"
        assert dig(transport, "+short", "WWW.allowed.example", "AAAA") == "2001:db8:1::7\n"


def test_a_chain_that_leaves_the_allowed_names(dig: Dig) -> None:
    expected = "target.other.example.\n198.51.100.8\n"
    assert dig("+short", "alias.allowed.example", "A") == expected
    assert dig("+short", "target.other.example", "A") == f"{SINKHOLE4}\n"


def test_refused_names_are_explained(dig: Dig) -> None:
    out = dig("evil.example", "A")
    assert SINKHOLE4 in out
    assert "EDE: 15 (Blocked)" in out
    assert "acme has disallowed access to evil.example. ask it (ramnet)" in out


def test_loopback_is_withheld(dig: Dig) -> None:
    out = dig("loop.allowed.example", "A")
    assert "127.0.0.1\n" not in out.partition("ANSWER SECTION")[2].partition(";;")[0]
    assert "status: NOERROR" in out
    assert "ANSWER: 0" in out


def test_a_name_that_does_not_exist(dig: Dig) -> None:
    assert "status: NXDOMAIN" in dig("nothing.allowed.example", "A")


def test_an_answer_that_does_not_fit_comes_over_tcp(tmp_path: Path) -> None:
    with serving("unbound", tmp_path) as upstream, Service([upstream]) as service:
        argv = ["dig", "@127.0.0.1", "-p", str(service.port), "+short", "many.allowed.example"]
        out = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=20).stdout
        assert len(out.splitlines()) == 200
