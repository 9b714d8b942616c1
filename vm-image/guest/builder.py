"""A builder that a scope covers, on whatever kernel this is: from its first packet on."""

from pathlib import Path
from typing import Any, Final

import facts
from report import need, run, wait

CONFIG: Final = Path("/etc/ramnet/ramnet.toml")
NAME: Final = "buildx_buildkit_vm0"
BUILDKIT: Final = "moby/buildkit:buildx-stable-1"
_SCOPE: Final = "\n[[scope]]\n"
# Not by wget: the one of busybox-static ends with a segmentation fault here.
_FETCH: Final = (
    "for i in 1 2 3 4 5; do "
    rf"(printf 'GET / HTTP/1.1\r\nHost: {facts.BLOCKED}\r\n\r\n'; sleep 2) | "
    f"nc -w 3 {facts.BLOCKED_ADDRESS} 80; done; sleep 600"
)


def is_covered() -> None:
    """Its first act is a fetch that no policy allows; it reads why, and the caveat says covered.

    Without NAT there is no cover: ramnet says so and refuses everything until it is not asked for.
    """
    kept, tier = CONFIG.read_text(), facts.status()["scopes"][0]["tier"]
    facts.need_pull()
    run("docker", "tag", f"{facts.ALLOWED}/{facts.IMAGE}", BUILDKIT)
    need(kept.count(_SCOPE) == 1, f"where is the scope in {kept}")
    CONFIG.write_text(kept.replace(_SCOPE, f'{_SCOPE}containers = ["buildx"]\n'))
    try:
        run("systemctl", "restart", "ramnet.service")
        _held() if tier == "redirect" else _refused()
    finally:
        run("docker", "rm", "--force", NAME)
        CONFIG.write_text(kept)
        run("systemctl", "reset-failed", "ramnet.service")
        run("systemctl", "restart", "ramnet.service")
        facts.wait_enforcing()
    facts.need_no_strays()


def _held() -> None:
    facts.wait_enforcing()
    wait("Docker was asked", lambda: _cover()["problem"] is None)
    done = run("docker", "run", "--detach", "--name", NAME, BUILDKIT, "sh", "-c", _FETCH)
    need(done.code == 0, done.text)
    wait("the builder reads why", lambda: facts.SENTENCE in run("docker", "logs", NAME).text)
    wait("the builder in the status", lambda: NAME in _cover()["covered"].values())
    wait("the caveat says covered", lambda: _caveat() == "covered")


def _refused() -> None:
    journal = ("journalctl", "--boot", "--no-pager", "--output=cat", "--unit=ramnet.service")
    words = "`containers` cannot be had on this kernel"
    wait("ramnet says why", lambda: words in run(*journal).text)
    need(facts.pull(facts.ALLOWED).code != 0, "a pull went through without ramnet")


def _cover() -> dict[str, Any]:
    return dict(facts.status()["scopes"][0]["cover"])


def _caveat() -> str:
    return facts.caveat_state(run("ramnet", "caveats", "--json").text, "buildx-docker-container")
