"""The README's walk-through, typed as it stands there: from nothing to a machine that enforces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Host, Lab, Ramnet
from tests.lab import addresses as at
from tests.lab.host import PATH
from tests.lab.service import PROGRAM

pytestmark = pytest.mark.lab

_TOP = Path(__file__).resolve().parents[2]
_README = (_TOP / "README.md").read_text()
_PRIVATE = """
mkdir -p /run/var-lib/upper /run/var-lib/work
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/var-lib/upper,workdir=/run/var-lib/work \\
    overlay /var/lib
mount -t tmpfs tmpfs /srv
mkdir /srv/www
mount --bind {root} /srv/www
"""


def commands(after: str) -> list[str]:
    """The indented block that follows these words; a line's continuations belong to it."""
    text = _README.partition(after)[2]
    assert text, f"the README does not say {after!r} any more"
    found = re.search(r"\n\n((?:    .+\n)+)", text)
    assert found is not None
    block = re.sub(r"(?m)^    ", "", found[1])
    return re.sub(r"\\\n\s*", "", block).splitlines()


def example(name: str) -> str:
    """The TOML that the README shows of that file."""
    found = re.search(rf"`[^`]*/{re.escape(name)}`, [^\n]*\n\n```toml\n(.*?)```", _README, re.S)
    assert found is not None
    return found[1]


class Typist:
    """Types what the README says into a shell of the vm."""

    def __init__(self, vm: Host, folder: Path) -> None:
        self._vm, self.folder = vm, folder
        self._environment = {"PATH": f"{Path(PROGRAM).parent}:{PATH}"}

    def type(self, line: str) -> str:
        where = _TOP if line.startswith("make ") else self.folder
        typed = ["sh", "-c", f"cd {where}\n{line}"]
        return self._vm.run(typed, environment=self._environment).check().out

    def start(self, line: str) -> None:
        typed = ["sh", "-c", f"exec {line}"]
        self._process = self._vm.start(typed, log="readme", environment=self._environment)

    def stop(self) -> None:
        self._process.stop()


@pytest.fixture
def typist(lab: Lab, ramnet: Ramnet, tmp_path: Path) -> Iterator[Typist]:
    """A vm whose /var/lib and /srv are its own, and where /srv/www is served."""
    ramnet.close()
    vm, root = lab.vm, lab.inet.web.roots[at.POLICY_SERVER.name]
    vm.run(["sh", "-ec", _PRIVATE.format(root=root)]).check()
    yield Typist(vm, tmp_path)
    ramnet.close()  # takes away what ran by the configuration that was typed
    vm.run(["umount", "/srv/www", "/srv", "/var/lib"]).check()
    vm.path("/etc/ramnet/root.json").unlink(missing_ok=True)


def test_from_nothing_to_a_machine_that_enforces(typist: Typist, lab: Lab, ramnet: Ramnet) -> None:
    vm, lines = lab.vm, commands("From nothing:")
    assert len(lines) <= 6
    (typist.folder / "policy.toml").write_text(example("policy.toml"))
    for line in lines[:-1]:
        typist.type(line)
    typist.start(lines[-1])
    try:
        ramnet.wait_status(lambda status: status["state"] == "enforcing", 20)
        assert ramnet.status()["policy"]["configured"] == "https://policy.acme.example/policy"
        sentence = commands("rest the developer reads")[0]
        blocked = at.REGISTRY_BLOCKED.name
        assert blocked in sentence
        curl = ["curl", "--silent", "--insecure", "--max-time", "5", f"https://{blocked}/v2/"]
        assert sentence in vm.run(curl).out
        (renew,) = commands("Cron renews what says that all is current")
        assert "timestamp published, version 2" in typist.type(renew)
        assert "is in force" in typist.type("ramnet refresh")
    finally:
        typist.stop()


def test_several_people_hold_the_root(typist: Typist) -> None:
    alice, keys, sign = commands("Where several people hold the root's keys")
    for line in (alice, alice.replace("alice", "bob"), keys, sign):
        typist.type(line)
    assert "version 1 is in force" in typist.type(sign.replace("alice", "bob"))
