"""The unprivileged process that holds the gate.

Started as root by the supervisor with descriptors for the channel and the scope's network
namespace. It enters the namespace, joins the gate's cgroup (sockets belong to the cgroup and
uid they are created in), gives up every privilege, and serves until the channel ends.
"""

import argparse
import asyncio
import contextlib
import gc
import importlib
import mmap
import os
import resource
import socket
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from ramnet.daemon import channel
from ramnet.errors import PolicyError, RamnetError
from ramnet.gate import outward
from ramnet.gate.spec import GateSpec, Surroundings
from ramnet.journal import Level
from ramnet.kernel import cgroup, netns
from ramnet.kernel.libc import set_no_new_privs
from ramnet.kernel.process import confine
from ramnet.policy import Policy
from ramnet.ruleset import GATE_UID

OPEN_FILES: Final = 131072
"""Two sockets and a borrowed pipe (two descriptors) for each of 16,384 connections, and more."""

LARGE_POLICY: Final = 4 << 20
"""Bytes of a compiled policy from which on it is verified in a thread; 2 ms."""


class GateLike(Protocol):
    """What the worker needs of ``ramnet.gate.gate.Gate``."""

    async def start(self, listeners: dict[str, list[socket.socket]]) -> None:
        """Serve these sockets."""

    async def listen(self, listeners: dict[str, list[socket.socket]]) -> None:
        """Serve these sockets of the transparent role as well."""

    def replace_policy(self, policy: Policy) -> None:
        """Put a policy in force."""

    def update_surroundings(self, surroundings: Surroundings) -> None:
        """Take note of what is near."""

    def set_log_level(self, level: Level) -> None:
        """Show so much."""

    def status(self) -> dict[str, Any]:
        """Counters and state, as JSON."""

    async def close(self) -> None:
        """Close every flow and socket."""


class MakeGate(Protocol):
    """``Gate(spec, surroundings)``."""

    def __call__(self, spec: GateSpec, surroundings: Surroundings) -> GateLike:
        """A gate that does not serve yet and refuses everything."""


def main(arguments: Sequence[str], make_gate: MakeGate | None = None) -> int:
    """Become the gate and serve; returns when the supervisor is gone."""
    parser = argparse.ArgumentParser("ramnet-gate")
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--netns", type=int, required=True)
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("--dial-own", action="store_true")
    options = parser.parse_args(arguments)
    try:
        if options.cgroup is not None:
            cgroup.join(options.cgroup, os.getpid())
        if options.dial_own:
            outward.stay_behind(set_no_new_privs)
        netns.enter(options.netns)
        os.close(options.netns)
        make = make_gate or _load_gate()
        gc.freeze()  # what was loaded stays: no collection is to walk through it again
        confine(GATE_UID, GATE_UID, open_files=_open_files())
        _take_no_processor()
        asyncio.run(_serve(socket.socket(fileno=options.channel), make))
    except RamnetError as error:
        print(f"ramnet: gate: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _take_no_processor() -> None:
    """Have a wakeup not end the turn of whoever runs (SCHED_BATCH, sched(7)).

    An idle processor is taken as before. On a busy one client and server finish what they do
    first, so that the gate finds more to do at once: a sixth less processor time for a connection
    and more than that for a GiB, and dearer latency there (tests/bench/NOTES.md).
    """
    with contextlib.suppress(OSError):  # a container may forbid it, and the unit has set it
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _open_files() -> int:
    """As many as wanted, or as this machine allows (root in a container may not raise limits)."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    except (ValueError, OSError):
        return min(allowed, OPEN_FILES)
    return OPEN_FILES


def _load_gate() -> MakeGate:
    # Before the privileges go: a checkout below /root is readable for root alone.
    gate: MakeGate = importlib.import_module("ramnet.gate.gate").Gate
    if not readable_for_all(Path(__file__), Path(os.__file__), Path(msgspec.__file__)):
        load_the_rest()
    return gate


def readable_for_all(*files: Path) -> bool:
    """Whether every directory on the way to these files lets any user through."""
    folders = {folder for file in files for folder in file.resolve().parents}
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in folders)


def load_the_rest() -> None:
    """Do once what the gate does rarely, so that its code is loaded; 0.1 s."""
    from ramnet.gate.denial.authority import Issuer, create_authority

    Policy.empty("")
    Issuer(*create_authority("")).issue("h.example")
    "h\u00e9".encode("idna")


async def _serve(supervisor: socket.socket, make_gate: MakeGate) -> None:
    conversation = Conversation(supervisor, make_gate)
    try:
        await conversation.run()
    finally:
        await conversation.close()


class Conversation:
    """The gate's end of the channel: one packet after the other, in order."""

    def __init__(self, supervisor: socket.socket, make_gate: MakeGate) -> None:
        """``supervisor`` is a non-blocking socket."""
        self._supervisor, self._make_gate = supervisor, make_gate
        self._gate: GateLike | None = None

    async def run(self) -> None:
        """Until the supervisor closes its end."""
        supervisor = self._supervisor
        while True:
            try:
                packet = channel.receive_in_gate(supervisor)
            except BlockingIOError:
                await _readable(supervisor)
                continue
            if packet is None:
                return
            await self._take(*packet)

    async def close(self) -> None:
        """Close the gate and the channel."""
        if self._gate is not None:
            await self._gate.close()
        self._supervisor.close()

    async def _take(self, message: channel.ToGate, fds: list[int]) -> None:
        if isinstance(message, channel.Begin):
            await self._begin(message, fds)
            return
        if self._gate is None:
            raise channel.ChannelError("the first packet was not Begin")
        match message:
            case channel.Near():
                self._gate.update_surroundings(message.surroundings)
            case channel.Listen():
                await self._gate.listen(_by_role(message.roles, fds))
            case channel.Adopt():
                await self._adopt(self._gate, message, fds)
            case channel.RefuseAll():
                self._gate.replace_policy(Policy.empty(message.reason))
                self._say(channel.Adopted(message.serial))
            case channel.Log():
                self._gate.set_log_level(message.level)
            case channel.Ping():
                self._say(channel.Pong(message.serial, self._gate.status()))

    async def _begin(self, message: channel.Begin, fds: list[int]) -> None:
        self._gate = self._make_gate(message.spec, message.surroundings)
        await self._gate.start(_by_role(message.roles, fds))
        self._say(channel.Ready())

    async def _adopt(self, gate: GateLike, order: channel.Adopt, fds: list[int]) -> None:
        (fd,) = fds
        serial = order.serial
        try:
            # A private map: before Linux 6.7 a shared one of a sealed file is refused (EPERM).
            size = os.fstat(fd).st_size
            policy = Policy(mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ))
            await _verify(policy, size)
            policy.notice = order.notice
        except (PolicyError, OSError, ValueError) as error:
            self._say(channel.Rejected(serial, str(error)))
            return
        finally:
            os.close(fd)
        gate.replace_policy(policy)
        self._say(
            channel.Adopted(
                serial,
                version=policy.version,
                organization=policy.organization,
                digest=policy.digest,
                entries=policy.entry_count,
                restricts=policy.enabled,
                enforced=policy.enforced,
                ports=sorted(policy.ports),
            )
        )

    def _say(self, message: channel.FromGate) -> None:
        channel.send(self._supervisor, message)


async def _verify(policy: Policy, size: int) -> None:
    """Raises PolicyError. A large one beside the loop, which it would hold up for 30 ms."""
    if size < LARGE_POLICY:
        policy.verify()
        return
    try:
        await asyncio.to_thread(policy.verify)
    except RuntimeError:  # no thread is to be had
        policy.verify()


def _by_role(roles: list[str], fds: list[int]) -> dict[str, list[socket.socket]]:
    listeners: dict[str, list[socket.socket]] = {}
    for role, fd in zip(roles, fds, strict=True):
        listeners.setdefault(role, []).append(socket.socket(fileno=fd))
    return listeners


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
