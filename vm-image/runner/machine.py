"""One QEMU: its two serial ports, its end, and its sudden end."""

import os
import selectors
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

MEMORY: Final = 3072
"""Megabytes: the root lies in memory, beside the archive that it is unpacked from."""
TRIAL: Final = 15.0
"""Seconds in which a machine on KVM must have said its first word."""
_KERNEL_LINE: Final = "console=ttyS0 panic=-1 loglevel=4"


class Boot(NamedTuple):
    """What is booted and how."""

    kernel: Path
    initrd: Path
    line: str
    disk: Path | None
    directory: Path


def _command(boot: Boot, accelerator: str) -> list[str]:
    command = [
        "nice", "-n", "15", "qemu-system-x86_64", "-machine", "q35", "-accel", accelerator,
        "-smp", "2", "-m", str(MEMORY), "-nodefaults", "-display", "none", "-no-reboot",
        "-nic", "none", "-kernel", str(boot.kernel), "-initrd", str(boot.initrd),
        "-append", f"{_KERNEL_LINE} {boot.line}",
        "-serial", f"file:{boot.directory / 'console'}", "-serial", "stdio",
    ]  # fmt: skip
    if accelerator == "kvm":
        command += ["-cpu", "host"]
    else:
        command += ["-cpu", "max"]
    if boot.disk is not None:
        command += ["-drive", f"file={boot.disk},format=raw,if=virtio"]
    return command


class Machine:
    """A running guest."""

    def __init__(self, boot: Boot, accelerator: str) -> None:
        """Switch it on."""
        boot.directory.mkdir(parents=True, exist_ok=True)
        self.console = boot.directory / "console"
        self.began = time.monotonic()
        self._process = subprocess.Popen(
            _command(boot, accelerator),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def lines(self, seconds: float) -> Iterator[str]:
        """What the guest writes to its second serial port, until it is off.

        Raises TimeoutError after ``seconds``.
        """
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        rest, end = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while True:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError(f"not off within {seconds:g} s")
                chunk = os.read(descriptor, 65536)
                if not chunk:
                    return
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace").strip("\r") for line in whole)

    def cut(self) -> None:
        """Take the power away."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def alive(self) -> bool:
        """Whether it is on."""
        return self._process.poll() is None


def choose_accelerator(boot: Boot) -> str:
    """KVM only where a guest on it gets as far as its console; a device that opens is no proof."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg,thread=multi"
    machine = Machine(boot._replace(directory=boot.directory / "trial"), "kvm")
    try:
        while machine.alive() and time.monotonic() - machine.began < TRIAL:
            if machine.console.exists() and b"Linux version" in machine.console.read_bytes():
                return "kvm"
            time.sleep(0.1)
    finally:
        machine.cut()
    return "tcg,thread=multi"
