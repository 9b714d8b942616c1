"""Resolver and proxy together, as the worker process uses them."""

import asyncio
import socket
from pathlib import Path

import msgspec

from ramnet.audit import read_events
from ramnet.config import Denial, Proxy, Resolver
from ramnet.gate.gate import Gate
from ramnet.gate.spec import GateSpec, Surroundings
from tests.gate.proxy.rig import POLICY, compiled, read_all

NEAR = Surroundings(addresses=[], networks={}, resolv_conf="", gate_ports=[])


def _spec(tmp_path: Path) -> GateSpec:
    return GateSpec(
        scope="test",
        resolver=Resolver(upstream=["192.0.2.53"], hosts={"good.example": ["192.0.2.7"]}),
        proxy=Proxy(),
        denial=Denial(),
        sinkhole4="240.0.0.1",
        sinkhole6=None,
        event_log=str(tmp_path / "events.jsonl"),
        ca_certificate=None,
        ca_key=None,
    )


def test_the_spec_travels_as_json(tmp_path: Path) -> None:
    spec = _spec(tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(spec), type=GateSpec) == spec
    assert msgspec.json.decode(msgspec.json.encode(NEAR), type=Surroundings) == NEAR


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


async def _ask(port: int, name: str) -> bytes:
    def ask() -> bytes:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode())
            return read_all(sock)

    return await asyncio.to_thread(ask)


def test_everything_is_refused_until_a_policy_is_known(tmp_path: Path) -> None:
    async def serve() -> None:
        gate = Gate(_spec(tmp_path), NEAR)
        listener = _listener()
        port = listener.getsockname()[1]
        await gate.start({"explicit": [listener]})
        try:
            answer = await _ask(port, "good.example")
            assert b"403 Your organization has disallowed access to good.example." in answer
            assert b"No policy is known yet" in answer
            gate.replace_policy(compiled(POLICY))
            gate.update_surroundings(NEAR)
            assert b"403 acme has disallowed" in await _ask(port, "bad.example")
            status = msgspec.json.decode(msgspec.json.encode(gate.status()))
            assert status["proxy"]["refused"] == 2
            assert "resolver" in status
        finally:
            await gate.close()

    asyncio.run(serve())
    events = [event for event in read_events(tmp_path / "events.jsonl") if event.kind == "connect"]
    assert [(event.name, event.verdict) for event in events] == [
        ("good.example", "refused"),
        ("bad.example", "refused"),
    ]
