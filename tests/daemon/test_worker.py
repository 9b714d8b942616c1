"""What the gate's process has loaded before it gives up the right to read it."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest

from ramnet.daemon import channel, memfd, worker
from ramnet.daemon.worker import Conversation, readable_for_all
from ramnet.policy import compile_policy, read_document

from .stub_gate import StubGate
from .test_channel import NEAR, SPEC

PROGRAM = """
import sys
from ramnet.daemon import worker
worker._load_gate()
worker.load_the_rest()

class Refuse:
    def find_spec(self, name, path=None, target=None):
        raise AssertionError(f"{name} is loaded too late")

sys.meta_path.insert(0, Refuse())
from ramnet.gate.denial.authority import Issuer, create_authority
Issuer(*create_authority("acme")).issue("ghcr.example")
worker.Policy.empty("reason").sentence("h.example", ascii=True)
worker.Policy.empty("reason").decide("h.example", 443)
"""


def test_nothing_is_loaded_when_it_cannot_be_read_any_more() -> None:
    subprocess.run([sys.executable, "-I", "-c", PROGRAM], check=True)


def test_a_wakeup_of_the_gate_ends_nobodys_turn() -> None:
    program = (
        "import os; from ramnet.daemon import worker; worker._take_no_processor(); "
        "assert os.sched_getscheduler(0) == os.SCHED_BATCH"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True)


def test_an_installation_for_root_alone_is_recognised(tmp_path: Path) -> None:
    private = tmp_path / "root" / "lib"
    private.mkdir(parents=True)
    assert readable_for_all(Path("/usr/lib/module.py"))
    (tmp_path / "root").chmod(0o700)
    assert not readable_for_all(Path("/usr/lib/module.py"), private / "module.py")


def adopted(blob: bytes) -> list[channel.FromGate]:
    """What a gate that is offered this blob says, until its supervisor hangs up."""
    ours, theirs = channel.pair()
    fd = memfd.create("blob")
    os.write(fd, blob)
    memfd.seal(fd)
    channel.send(ours, channel.Begin(SPEC, NEAR, []))
    channel.send(ours, channel.Adopt(1), [fd])
    os.close(fd)
    ours.shutdown(socket.SHUT_WR)

    async def converse() -> None:
        conversation = Conversation(theirs, QuietGate)
        await conversation.run()
        await conversation.close()

    with ours:
        asyncio.run(converse())
        said = []
        while (message := channel.receive_in_supervisor(ours)) is not None:
            said.append(message)
    return said


class QuietGate(StubGate):
    async def start(self, listeners: dict[str, list[socket.socket]]) -> None:
        assert listeners == {}


@pytest.mark.parametrize("large", [worker.LARGE_POLICY, 0])
def test_a_whole_policy_is_adopted(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LARGE_POLICY", large)
    blob = compile_policy(read_document(b"version = 4", source="p"))
    ready, answer = adopted(blob)
    assert ready == channel.Ready()
    assert isinstance(answer, channel.Adopted)
    assert (answer.serial, answer.version) == (1, 4)


@pytest.mark.parametrize("large", [worker.LARGE_POLICY, 0])
@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_damaged_policy_is_rejected(at: int, large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LARGE_POLICY", large)
    blob = bytearray(compile_policy(read_document(b"version = 4", source="p")))
    blob[at] ^= 1
    _, answer = adopted(bytes(blob))
    assert isinstance(answer, channel.Rejected)


def test_an_empty_policy_is_rejected() -> None:
    _, answer = adopted(b"")
    assert isinstance(answer, channel.Rejected)


def test_the_ports_that_a_policy_names_are_said() -> None:
    document = b'version = 4\n[[registry]]\nhost = "a.example:8443"'
    _, answer = adopted(compile_policy(read_document(document, source="p")))
    assert isinstance(answer, channel.Adopted)
    assert answer.ports == [8443]


class OpenGate(QuietGate):
    async def listen(self, listeners: dict[str, list[socket.socket]]) -> None:
        (sock,) = listeners["transparent"]
        self.replies.append(sock.getsockname()[1])
        sock.close()

    replies: ClassVar[list[int]] = []


def test_further_listeners_reach_the_gate() -> None:
    ours, theirs = channel.pair()
    with ours, socket.create_server(("127.0.0.1", 0)) as listener:
        channel.send(ours, channel.Begin(SPEC, NEAR, []))
        channel.send(ours, channel.Listen(["transparent"]), [listener.fileno()])
        ours.shutdown(socket.SHUT_WR)

        async def converse() -> None:
            conversation = Conversation(theirs, OpenGate)
            await conversation.run()
            await conversation.close()

        asyncio.run(converse())
        assert OpenGate.replies == [listener.getsockname()[1]]
