"""Who must not be harmed: services of this machine, those who call it, and what it says."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from tests.attacks.tools import (
    BLOCKED,
    EXPLICIT,
    client_hello,
    connect,
    connected,
    get,
    refused_tls,
    server,
    speak,
    wait_led_to_the_gate,
)
from tests.lab import Capture, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray
from tests.unit.wire import hello

pytestmark = pytest.mark.lab

BOTH = pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
HERE = [("127.0.0.1", at.VM_IPV4), ("::1", at.VM_IPV6)]
#: What clients of services on loopback say first; none of it is a proxy request.
FIRST = {
    "http": get("localhost"),
    "http-unlisted-name": get("anything.example"),
    "http-address": get("127.0.0.1"),
    "tls": hello.record(client_hello("localhost")),
    "tls-without-name": hello.record(client_hello(None)),
    "http2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
    "redis": b"*1\r\n$4\r\nPING\r\n",
    "memcached": b"get a\r\n",
    "postgres": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "mongo": b"\x10\1\0\0\1\0\0\0\0\0\0\0\xdd\x07\0\0",
    "cassandra": b"\x04\0\0\0\x05\0\0\0\0",
    "amqp": b"AMQP\0\0\x09\x01",
    "nats": b'CONNECT {"verbose":false}\r\n',
    "ldap": b"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\0\x80\0",
    "git": b"0033git-upload-pack /a.git\0host=files.blocked.example\0",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing-known": bytes(range(200, 256)),
}


@BOTH
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
def test_a_service_on_this_machine(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int, first: bytes
) -> None:
    """It hears what the client said, byte for byte. A bystander: left alone by design."""
    for address in HERE[family]:
        with server(vm, address, 18080) as heard:
            wait_led_to_the_gate(vm, 18080)
            with connected(vm, address, 18080) as sock:
                sock.sendall(first)
                answer = b""
                while len(answer) < len(first) + 6:
                    answer += sock.recv(4096)
            assert b"".join(heard) == first
    assert not stray(capture)


@BOTH
def test_a_service_that_speaks_first(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int
) -> None:
    """As SSH, MySQL and SMTP do: its client waits for nobody. Left alone by design."""
    for address in HERE[family]:
        with server(vm, address, 13306, greeting=b"5.5.5-MariaDB") as heard:
            wait_led_to_the_gate(vm, 13306)
            with connected(vm, address, 13306, 0.25) as sock:
                assert sock.recv(64) == b"5.5.5-MariaDB"
                sock.sendall(b"\x20\0\0\1login")
                assert sock.recv(64) == b"heard \x20\0\0\1login"
            assert heard == [b"\x20\0\0\1login"]


@BOTH
def test_inbound_connections(enforced: Ramnet, lab: Lab, capture: Capture, family: int) -> None:
    """From outside, to a service here: untouched, whatever is said. Left alone by design."""
    own = HERE[family][1]
    with server(lab.vm, own, 10022, greeting=b"SSH-2.0-x\r\n") as heard:
        for said in (b"hello\n", connect(f"{BLOCKED.name}:443"), get(BLOCKED.name)):
            with connected(lab.inet, own, 10022) as sock:
                assert sock.recv(64) == b"SSH-2.0-x\r\n"
                sock.sendall(said)
                assert sock.recv(4096) == b"heard " + said
        assert len(heard) == 3


@BOTH
def test_udp_and_a_port_where_nobody_listens(
    enforced: Ramnet, vm: Vm, capture: Capture, family: int
) -> None:
    """Local UDP passes; a closed port refuses as ever, at once. Left alone by design."""
    for address in HERE[family]:
        kind = socket.AF_INET6 if family else socket.AF_INET
        with (
            vm.socket(kind, socket.SOCK_DGRAM) as here,
            vm.socket(kind, socket.SOCK_DGRAM) as there,
        ):
            here.bind((address, 18125))
            there.sendto(b"count:1|c", (address, 18125))
            assert here.recv(64) == b"count:1|c"
        with pytest.raises(ConnectionRefusedError):
            speak(vm, address, 18999)


def test_what_is_written_about_attackers_is_one_line(
    enforced: Ramnet, vm: Vm, capture: Capture
) -> None:
    """Names with line ends, escapes and other alphabets forge no event and paint no terminal.

    Shown by: `cli.facts` without `printable` and `display` without its escapes, since either
    would do.
    """
    forged = '","verdict":"allowed","x":"\r\n{"time":"9'
    for name in (f"a{forged}.example", "\x1b[2J\x1b]0;owned\x07.example", "\x9b31m.example"):
        raw = name.encode("latin-1")
        labels = b"".join(bytes([len(part)]) + part for part in raw.split(b"."))
        question = b"\0\7\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"
        with vm.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, contextlib.suppress(OSError):
            udp.settimeout(1)
            udp.sendto(question, (BLOCKED.ipv4, 53))
            udp.recv(4096)
        with connected(vm, BLOCKED.ipv4, 443) as sock:
            sock.sendall(hello.record(client_hello(name)))
            assert refused_tls(sock)
        speak(vm, *EXPLICIT, connect(f"{name}:443"))
    for line in enforced.command("events").check().out.splitlines():
        assert line.isprintable()
    assert not any(event["time"].startswith("9") for event in enforced.events())
    said = enforced.command("events", "--json").check().out
    assert all(json.loads(line)["kind"] for line in said.splitlines())
    assert not stray(capture)


def test_what_any_user_may_ask_of_the_service(enforced: Ramnet, vm: Vm) -> None:
    """Status, and nothing else; the key of the boot-time authority and the lock are not theirs.

    Shown by: `root_only` left out; the lock made with mode 0644 (this was a hole).
    """
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    curl = [*nobody, "curl", "-sS", "--max-time", "5", "--path-as-is"]
    curl += ["--unix-socket", "/run/ramnet/control.sock"]
    assert '"enforcing"' in vm.run([*curl, "http://ramnet/v1/status"]).check().out
    for arguments in (["-X", "POST", "http://ramnet/v1/down"],
                      ["-X", "POST", "http://ramnet/v1/../v1/down"],
                      ["-X", "POST", "http://ramnet//v1/down"],
                      ["-X", "POST", "http://ramnet/v1/down?x"],
                      ["-X", "POST", "-H", "X-Forwarded-User: root", "http://ramnet/v1/down/"],
                      ["-X", "HEAD", "http://ramnet/v1/down"]):  # fmt: skip
        assert '"state"' not in vm.run([*curl, *arguments]).out
    # In a user namespace of one's own one is root, and still nobody here.
    unshared = [*nobody, "unshare", "--user", "--map-root-user", *curl[4:]]
    assert '"state"' not in vm.run([*unshared, "-X", "POST", "http://ramnet/v1/down"]).out
    for path in ("/run/ramnet/ca/ca.key", "/run/ramnet/lock"):
        assert not vm.run([*nobody, "cat", path]).ok
    assert enforced.status()["state"] == "enforcing"


def test_the_gate_is_alone_with_itself(enforced: Ramnet, vm: Vm) -> None:
    """No capability, no way back, nobody of its uid may trace it, nothing of root's is open.

    Shown by: the namespace's descriptor left open. Without `set_undumpable` the kernel itself makes
    a process untraceable that has changed its uid.
    """
    gate = enforced.gate_pid()
    status = dict(
        line.split(":\t", 1) for line in vm.path(f"/proc/{gate}/status").read_text().splitlines()
    )
    assert status["NoNewPrivs"] == "1"
    assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
    assert status["Groups"].strip() == ""
    as_gate = ["setpriv", "--reuid=60927", "--regid=60927", "--clear-groups"]
    assert not vm.run([*as_gate, "cat", f"/proc/{gate}/environ"]).ok
    assert not vm.run([*as_gate, "ls", f"/proc/{gate}/fd"]).ok
    opened = vm.run(["sh", "-c", f"readlink /proc/{gate}/fd/*"]).check().out
    assert "net:[" not in opened
    assert "/cgroup" not in opened
    assert "/etc/" not in opened
