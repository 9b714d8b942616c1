"""Out of file descriptors the rules are mended all the same, and libnftables ends nobody."""

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ramnet.errors import KernelRefusedError
from ramnet.kernel.reserve import SIZE, Reserve
from tests.kernel.conftest import new_enforcer
from tests.lab.host import Host

Hosts = tuple[Host, Host]


@contextlib.contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing; what it has it may close and use again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + SIZE + 64, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in taken:
            os.close(descriptor)


@pytest.mark.parametrize("without", ["", "nat_redirect"], ids=["redirect", "anyip"])
def test_rules_are_mended_without_descriptors(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without: str
) -> None:
    monkeypatch.setenv("RAMNET_WITHOUT", without)
    enforcer = new_enforcer(hosts[0], tmp_path)
    try:
        enforcer.install()
        hosts[0].run(["nft", "flush", "ruleset"]).check()
        assert not enforcer.intact()
        with no_descriptors():
            said = enforcer.restore(sets=False)
            assert enforcer.intact()
        assert "our table was removed" in said
    finally:
        enforcer.remove()


def test_work_that_would_lack_descriptors_is_not_begun() -> None:
    reserve = Reserve()
    with (
        no_descriptors(),
        pytest.raises(KernelRefusedError, match="too few file descriptors"),
        reserve.lent(),
    ):
        raise AssertionError
    with reserve.lent():
        pass


_COUNT = """
import os
from ramnet.kernel.reserve import SIZE, RESERVE
def open_now():
    return len(os.listdir("/proc/self/fd"))
with RESERVE.lent():
    before = open_now()
    with RESERVE.lent():
        assert open_now() == before
    assert open_now() == before
assert open_now() == before + SIZE
"""


def test_it_is_given_up_for_the_length_of_the_work_and_taken_again() -> None:
    subprocess.run([sys.executable, "-c", _COUNT], check=True, cwd=Path(__file__).parents[2])
