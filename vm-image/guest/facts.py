"""What this guest says of itself: units, ramnet's status, the capture."""

import json
import ssl
from pathlib import Path
from socket import create_connection
from typing import Any, Final

from report import Done, need, run, wait

ALLOWED: Final = "registry.allowed.example"
BLOCKED: Final = "registry.blocked.example"
ALLOWED_ADDRESS: Final = "203.0.113.10"
BLOCKED_ADDRESS: Final = "203.0.113.11"
IMAGE: Final = "library/app:1"
SENTENCE: Final = (
    f"acme has disallowed access to {BLOCKED}. ask it-help@acme.example to add a registry (ramnet)"
)
CAPTURE: Final = "/run/wire.pcap"
_OURS: Final = "(src host 192.0.2.2 or src host 2001:db8:1::2)"
_NEIGHBOURS: Final = "not (icmp6 and (ip6[40] >= 130 and ip6[40] <= 143))"
_RESOLVER: Final = "not (dst host 192.0.2.53 and port 53)"
_REGISTRY: Final = f"not (dst host {ALLOWED_ADDRESS} and tcp port 443)"


def given(key: str) -> str:
    """The value that the kernel command line has for a key; empty where it has none."""
    for word in Path("/proc/cmdline").read_text().split():
        name, _, value = word.partition("=")
        if name == key:
            return value
    return ""


def unit(name: str, attribute: str) -> str:
    """One property of a systemd unit."""
    return run("systemctl", "show", "--value", "--property", attribute, name).text.strip()


def started(name: str) -> int:
    """When a unit became active, microseconds of this boot; 0 if it never did."""
    return int(unit(name, "ActiveEnterTimestampMonotonic") or 0)


def status() -> dict[str, Any]:
    """``ramnet status --json``; empty where the service does not answer."""
    return parse_status(run("ramnet", "status", "--json").text)


def parse_status(text: str) -> dict[str, Any]:
    """What ``ramnet status --json`` said; empty where it said something else."""
    try:
        return dict(json.loads(text))
    except ValueError:
        return {}


def caveat_state(text: str, code: str) -> str:
    """The state of one caveat in what ``ramnet caveats --json`` said."""
    caveats, _ = json.JSONDecoder().raw_decode(text)  # what went to stderr comes after it
    return next(str(caveat["state"]) for caveat in caveats if caveat["code"] == code)


def enforcing() -> bool:
    """Whether the service says that it enforces."""
    return status().get("state") == "enforcing"


def wait_enforcing() -> None:
    """CheckError when it does not come to that."""
    wait("ramnet enforces", enforcing)


def supervisor() -> int:
    """The service's pid by init."""
    return int(unit("ramnet.service", "MainPID") or 0)


def processes(*words: str) -> set[int]:
    """Pids of ``python3 -I PROGRAM ...`` where program's name and what follows are ``words``."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            parts = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        names = [Path(part).name for part in parts if part]
        if names[2 : 2 + len(words)] == list(words):
            found.add(int(path.parent.name))
    return found


def packets(expression: str) -> list[str]:
    """What the capture holds of it, one packet a line, seconds since the epoch first."""
    done = run("tcpdump", "-Z", "root", "-nn", "-tt", "-q", "-r", CAPTURE, expression)
    # A capture that cannot be read must not look like an empty one.
    need(done.code == 0, f"tcpdump: {done.text}")
    return [line for line in done.text.splitlines() if " IP " in line or " IP6 " in line]


def strays() -> list[str]:
    """Packets of this machine's own that no policy allowed."""
    return packets(f"{_OURS} and {_NEIGHBOURS} and {_RESOLVER} and {_REGISTRY}")


def sent() -> list[str]:
    """All packets of this machine's own but neighbour discovery."""
    return packets(f"{_OURS} and {_NEIGHBOURS}")


def sent_elsewhere() -> list[str]:
    """Packets of this machine's own that do not go to the allowed registry."""
    return packets(f"{_OURS} and {_NEIGHBOURS} and {_REGISTRY}")


def need_no_strays() -> None:
    """CheckError with the first ones."""
    found = strays()
    need(not found, f"{len(found)} packets left: {found[:3]}")


def pull(registry: str) -> Done:
    """``docker pull``, its image removed first so that it is fetched."""
    name = f"{registry}/{IMAGE}"
    run("docker", "image", "rm", "--force", name)
    return run("docker", "pull", name)


def need_pull(registry: str = ALLOWED) -> None:
    """CheckError unless it is pulled."""
    done = pull(registry)
    need(done.code == 0, done.text)


def need_refusal(registry: str = BLOCKED, sentence: str = SENTENCE) -> None:
    """CheckError unless it is refused, in the words of the policy."""
    done = pull(registry)
    need(done.code != 0, "was pulled")
    need(sentence in done.text, done.text)


def ask_over_tls(name: str, address: str) -> str:
    """What a client that believes this machine's trust store reads there, by way of no proxy."""
    context = ssl.create_default_context()
    with (
        create_connection((address, 443), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=name) as secured,
    ):
        secured.sendall(f"GET /v2/ HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        answer = b""
        while chunk := secured.recv(4096):
            answer += chunk
            if answer.endswith((b"}", b"\n\n")):
                break
    return answer.decode(errors="replace")
