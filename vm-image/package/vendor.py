"""Lay ramnet's libraries down in one directory that every Python from 3.11 on can import from.

The versions are those of the environment that ran the tests. Pure Python is the same for every
interpreter; compiled modules carry their interpreter's tag in the file name (PEP 3149), so those
of several interpreters lie side by side. Command line: DIRECTORY.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
"""Debian 12 to sid, and the Ubuntu releases between them."""
_EXTENSION: Final = ".so"
_UNUSED: Final = ("*/tests", "bin", "*.dist-info/RECORD", "*.dist-info/REQUESTED")


def closure(name: str) -> dict[str, str]:
    """The libraries that ``name`` needs, and theirs, with the versions installed here."""
    found: dict[str, str] = {}
    waiting = [name]
    while waiting:
        for needed in _requirements(waiting.pop()):
            if needed not in found:
                found[needed] = distribution(needed).version
                waiting.append(needed)
    return found


def _requirements(name: str) -> Iterator[str]:
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def _install(pins: list[str], target: Path, python: str) -> None:
    """What pip has for that interpreter, as wheels only: nothing is built, nothing is run."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--no-compile", "--only-binary=:all:", "--root-user-action=ignore",
         f"--python-version={python}", f"--target={target}", *pins],
        check=True,
    )  # fmt: skip


def vendor(target: Path) -> None:
    """Fill ``target``, which is made anew."""
    pins = [f"{name}=={version}" for name, version in sorted(closure("ramnet").items())]
    shutil.rmtree(target, ignore_errors=True)
    _install(pins, target, PYTHONS[0])
    compiled = _compiled_for_one_interpreter(target, pins)
    for python in PYTHONS[1:]:
        with tempfile.TemporaryDirectory() as scratch:
            _install(compiled, Path(scratch), python)
            _copy_extensions(Path(scratch), target)
    for pattern in _UNUSED:
        for path in target.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _compiled_for_one_interpreter(target: Path, pins: list[str]) -> list[str]:
    """Those whose wheel says ``cp311``; the stable ABI (``abi3``) serves every interpreter."""
    found = []
    for pin in pins:
        name, _, version = pin.partition("==")
        wheel = target / f"{name.replace('-', '_')}-{version}.dist-info" / "WHEEL"
        tags = [line for line in wheel.read_text().splitlines() if line.startswith("Tag: cp")]
        if tags and not any("abi3" in tag for tag in tags):
            found.append(pin)
    return found


def _copy_extensions(source: Path, target: Path) -> None:
    for path in source.rglob(f"*{_EXTENSION}"):
        shutil.copy2(path, target / path.relative_to(source))


if __name__ == "__main__":
    vendor(Path(sys.argv[1]))
