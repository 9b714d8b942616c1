"""What the gate's process has loaded before it gives up the right to read it."""

import subprocess
import sys
from pathlib import Path

from ramnet.daemon.worker import readable_for_all

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


def test_an_installation_for_root_alone_is_recognised(tmp_path: Path) -> None:
    private = tmp_path / "root" / "lib"
    private.mkdir(parents=True)
    assert readable_for_all(Path("/usr/lib/module.py"))
    (tmp_path / "root").chmod(0o700)
    assert not readable_for_all(Path("/usr/lib/module.py"), private / "module.py")
