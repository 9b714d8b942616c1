"""Sends for the policy: starts the child that asks, and takes its word in bounded pieces.

The supervisor reads one small typed report. Bundle and documents pass through it unread, in
memory files.
"""

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

import msgspec

from ramnet.daemon import memfd
from ramnet.daemon.child import Child
from ramnet.daemon.fetch_order import Order, Report
from ramnet.daemon.gate_keeper import Place
from ramnet.errors import PolicyError
from ramnet.gate.spec import GateSpec, Surroundings

TIME_LIMIT: Final = 60.0
"""Seconds for one fetch."""
_SPARE: Final = 15.0
_MAX_REPORT: Final = 64 * 1024
COMMAND: Final = (sys.executable, "-I", "-m", "ramnet.daemon.fetch")
_report = msgspec.json.Decoder(Report)


@dataclass(frozen=True, slots=True)
class WayOut:
    """How a gate gets out, and with it a fetch."""

    place: Place
    spec: GateSpec
    surroundings: Surroundings


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a child brought; the descriptors are the caller's."""

    report: Report
    bundle: int
    documents: int

    def close(self) -> None:
        """Let go of what it brought."""
        os.close(self.bundle)
        os.close(self.documents)


async def send(order: Order, *, kept: int | None, way: WayOut | None) -> Fetched:
    """Run one child; ``way`` is None where nothing is asked of a server.

    Raises PolicyError when it ended without a report.
    """
    files: list[int] = []
    if way is not None:
        order = msgspec.structs.replace(order, spec=way.spec, surroundings=way.surroundings)
    try:
        for name in ("order", "report", "bundle", "documents"):
            files.append(memfd.create(name))
        stdin, stdout, bundle, documents = files
        os.write(stdin, msgspec.json.encode(order))
        os.lseek(stdin, 0, os.SEEK_SET)
        arguments = [f"--bundle={bundle}", f"--documents={documents}"]
        fds = [bundle, documents]
        if kept is not None:
            arguments.append(f"--kept={kept}")
            fds.append(kept)
        if way is not None:
            arguments += _whereabouts(way.place)
            fds.append(way.place.namespace)
        report = await _run(arguments, stdin, stdout, fds, order.seconds + _SPARE)
        memfd.seal(bundle)
        memfd.seal(documents)
    except BaseException:
        for file in files:
            os.close(file)
        raise
    os.close(stdin)
    os.close(stdout)
    return Fetched(report, bundle, documents)


def _whereabouts(place: Place) -> list[str]:
    """Where the gate lives, and dials from: so does who is sent."""
    arguments = [f"--netns={place.namespace}"]
    if place.cgroup is not None:
        arguments.append(f"--cgroup={place.cgroup}")
    if place.dial == "own":
        arguments.append("--dial-own")
    return arguments


async def _run(
    arguments: list[str], stdin: int, stdout: int, fds: list[int], time_limit: float
) -> Report:
    try:
        child = Child(
            [*COMMAND, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL,
            pass_fds=fds,
        )  # fmt: skip
    except OSError as error:
        raise PolicyError(f"nobody can be sent for the policy: {error.strerror}") from error
    try:
        async with asyncio.timeout(time_limit):
            await child.wait()
    except TimeoutError:
        raise PolicyError(f"fetching the policy took more than {time_limit:g} s") from None
    finally:
        status = await child.end()
    if status != 0:
        raise PolicyError(f"who was sent for the policy ended with status {status}")
    try:
        return _report.decode(os.pread(stdout, _MAX_REPORT, 0))
    except msgspec.DecodeError:
        raise PolicyError("who was sent for the policy said nothing that can be read") from None
