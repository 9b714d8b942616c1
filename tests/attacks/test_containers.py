"""Containers: what they carry for the scope, and what they may go on doing for themselves."""

from __future__ import annotations

from collections.abc import Iterator

import dns.message
import pytest

from tests.attacks.tools import (
    ALLOWED,
    BLOCKED,
    LEAKED,
    OPEN,
    SENTENCE,
    SINKHOLES,
    Containers,
    ask,
    connect,
    connected,
    get,
    read_all,
    socks4,
    socks5,
    speak,
    tunnel,
)
from tests.lab import Capture, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.vm import Vm
from tests.system.conftest import stray

pytestmark = pytest.mark.lab

#: A forward proxy as simple as they come: CONNECT, absolute URI, SOCKS 4a and 5 on port 3128, a
#: plain TCP forwarder to the blocked site on 3129, and DNS on 5353. It is let out as any container.
_PROXY = f"""
import socket, threading
def pipe(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
    except OSError:
        pass
    for sock in (a, b):
        try: sock.shutdown(2)
        except OSError: pass
def join(client, host, port, answer, first=b""):
    out = socket.create_connection((host, port), 5)
    client.sendall(answer)
    out.sendall(first)
    threading.Thread(target=pipe, args=(out, client), daemon=True).start()
    pipe(client, out)
def serve(client):
    data = client.recv(65536)
    if data[:1] == b"\\x04":
        name = data[8:].split(b"\\0")[1].decode()
        join(client, name, int.from_bytes(data[2:4], "big"), b"\\0\\x5a" + bytes(6))
    elif data[:1] == b"\\x05":
        client.sendall(b"\\5\\0")
        data = client.recv(65536)
        name = data[5:5 + data[4]].decode()
        join(client, name, int.from_bytes(data[-2:], "big"), b"\\5\\0\\0\\1" + bytes(6))
    elif data.startswith(b"CONNECT "):
        name, port = data.split()[1].decode().split(":")
        join(client, name, int(port), b"HTTP/1.1 200 OK\\r\\n\\r\\n")
    elif b"://" in data:
        join(client, data.split(b"/")[2].decode(), 80, b"", data)
    elif data:
        client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\nbystander")
        serve(client)
def listen(port, then):
    listener = socket.create_server(("", port))
    while True:
        client, _ = listener.accept()
        threading.Thread(target=finish, args=(then, client), daemon=True).start()
def finish(then, client):
    with client:
        then(client)
def answer():
    here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    here.bind(("", 5353))
    while True:
        data, client = here.recvfrom(4096)
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        out.sendto(data, ("{at.RESOLVER.ipv4}", 53))
        here.sendto(out.recv(4096), client)
threading.Thread(target=answer, daemon=True).start()
threading.Thread(target=listen, args=(3128, serve), daemon=True).start()
forward = lambda client: join(client, "{BLOCKED.name}", 80, b"")
threading.Thread(target=listen, args=(3129, forward), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""

_WAYS = ("container", "published", "published-own-address")


@pytest.fixture(scope="module", params=["userland-proxy", "nat-alone"])
def publishing(request: pytest.FixtureRequest, lab: Lab, engine: None) -> Iterator[None]:
    if request.param == "nat-alone":
        lab.docker.restart(config={"userland-proxy": False})
    yield
    if request.param == "nat-alone":
        lab.docker.restart()


@pytest.fixture(scope="module", params=["bridge", "custom"])
def proxy(
    request: pytest.FixtureRequest, lab: Lab, publishing: None
) -> Iterator[dict[str, tuple[str, int]]]:
    """Where the proxy in a container is reached."""
    from tests.system.conftest import POLICY

    if lab.ramnet.process is None:
        lab.ramnet.start(POLICY)
    containers = Containers(lab)
    network = request.param if request.param == "bridge" else containers.network(request.param)
    options = [f"--network={network}", "--publish=4128:3128", "--publish=4129:3129"]
    address = containers.start("proxy", _PROXY, options=options)
    yield {
        "container": (address, 3128),
        "published": ("127.0.0.1", 4128),
        "published-own-address": (at.VM_IPV4, 4128),
    }
    containers.close()


def answered(vm: Vm, where: tuple[str, int]) -> None:
    """A port published by NAT alone is known to the rules from its first SYN on (a second)."""
    assert "bystander" in speak(vm, *where, get("anything.example"))


@pytest.mark.parametrize("way", _WAYS)
def test_a_proxy_in_a_container(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: dict[str, tuple[str, int]], way: str
) -> None:
    """Its own traffic is free, so it would open everything; what it is asked for is decided.

    By CONNECT, absolute URI, SOCKS 4a and 5; what is no proxy request passes as before.

    Shown by: `_serve_near` without its guard.
    """
    where = proxy[way]
    answered(vm, where)
    assert SENTENCE in tunnel(vm, where, f"{BLOCKED.name}:80", get(BLOCKED.name))
    absolute = get(BLOCKED.name).replace(b"GET /", f"GET http://{BLOCKED.name}/".encode())
    assert SENTENCE in speak(vm, *where, absolute)
    for version, first, then in ((4, socks4(BLOCKED.name), b""),
                                 (5, b"\x05\x01\x00", socks5(BLOCKED.name))):  # fmt: skip
        with connected(vm, *where) as sock:
            sock.sendall(first)
            if then:
                assert sock.recv(2) == b"\x05\0"
                sock.sendall(then)
            answer = sock.recv(8)
            assert answer[:2] == (b"\0\x5b" if version == 4 else b"\x05\x02")
    assert OPEN in tunnel(vm, where, f"{ALLOWED.name}:80", get(ALLOWED.name))
    assert not stray(capture)


@pytest.mark.parametrize("way", _WAYS)
def test_a_proxy_request_after_another(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: dict[str, tuple[str, int]], way: str
) -> None:
    """First something harmless, then the CONNECT, on one connection.

    Shown by: `HttpRequests.forward` passing all after the first request.
    """
    answered(vm, proxy[way])
    with connected(vm, *proxy[way]) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x.example\r\n\r\n")
        assert b"bystander" in sock.recv(4096)
        sock.settimeout(1)
        sock.sendall(connect(f"{BLOCKED.name}:80"))
        answer = read_all(sock).decode()
    assert " 200 " not in answer
    assert LEAKED not in answer
    assert not stray(capture)


def test_a_forwarder_in_a_container_is_a_caveat(
    enforced: Ramnet, vm: Vm, proxy: dict[str, tuple[str, int]]
) -> None:
    """It names nobody and encrypts nothing of ours: known and reported (`local-forwarders`).

    Nothing to take out: this shows what is not covered, so that a change of it is seen.
    """
    address, _ = proxy["container"]
    curl = ["curl", "-sS", "--max-time", "4", "-H", "Host: somebody.example"]
    assert vm.run([*curl, f"http://{address}:3129/"]).check().out == "you reached inet\n"


def test_what_passes_a_forwarder_is_decided_where_it_is_denied(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: dict[str, tuple[str, int]]
) -> None:
    """A name that the policy denies is denied on the way to what is near, too.

    Shown by: `_serve_near` without its guard.
    """
    from tests.system.conftest import POLICY

    address, _ = proxy["container"]
    enforced.set_policy(POLICY + f'[[registry]]\nhost = "{BLOCKED.name}"\nallowed = false\n')
    try:
        assert SENTENCE in speak(vm, address, 3129, get(BLOCKED.name))
    finally:
        enforced.set_policy(POLICY)
    request = capture.settle().sent_by_vm().where(lambda p: p.payload.startswith(b"GET"))
    assert not request.mentioning(BLOCKED.name)


def test_a_name_server_in_a_container(
    enforced: Ramnet, vm: Vm, capture: Capture, proxy: dict[str, tuple[str, int]]
) -> None:
    """On another port it tells the address, which opens nothing; on port 53 ours answers.

    Shown by: no redirect of TCP, chain `output` with policy accept and without its last line.
    """
    address, _ = proxy["container"]
    query = dns.message.make_query(BLOCKED.name, "A")
    reply = ask(vm, address, query, port=5353)
    assert reply is not None
    assert BLOCKED.ipv4 in str(reply.answer)
    capture.clear()
    reply = ask(vm, address, query)
    assert reply is not None
    assert {str(record) for rrset in reply.answer for record in rrset} <= SINKHOLES
    with connected(vm, BLOCKED.ipv4, 80) as sock:
        sock.sendall(get(BLOCKED.name))
        assert SENTENCE in read_all(sock).decode()
    assert not stray(capture)


def test_containers_go_on_by_themselves(
    containers: Containers, vm: Vm, proxy: dict[str, tuple[str, int]]
) -> None:
    """Their names, their traffic, exec and attach: a bystander's, left alone by design."""
    url = f"http://{BLOCKED.name}/hello.txt"
    for network in ("bridge", "host"):
        said = containers.run("wget", "-q", "-O", "-", url, options=[f"--network={network}"])
        assert (LEAKED in said) == (network == "bridge")
    docker = containers._lab.docker
    assert docker.run("exec", "proxy", "/bin/cat", "/label").check().out
    assert docker.run("exec", "--interactive", "proxy", "/bin/cat", stdin="pipe\n").out == "pipe\n"
    attached = docker.run("run", "--rm", "--interactive", containers.image, "cat", stdin="in\n")
    assert attached.out == "in\n"
