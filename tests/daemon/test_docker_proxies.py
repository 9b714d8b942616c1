"""dockerd's own proxies: found where Docker reads them, and told unless they are known."""

import os
import subprocess
from pathlib import Path

import pytest

from ramnet.caveats.facts import DockerProxy
from ramnet.caveats.proxies import unknown_proxies
from ramnet.config import Proxy
from ramnet.kernel.docker import gather_proxies, is_dockerd

_PRETEND = (
    "import sys\n"
    "with open('/proc/self/comm', 'w') as comm: comm.write('dockerd')\n"
    "print(flush=True)\n"
    "sys.stdin.read()"
)
KNOWN = Proxy(explicit=["127.0.0.1:3128"], parent="http://user:secret@proxy.example:8080")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:3128",
        "http://localhost:3128/",
        "127.0.0.1:3128",
        "http://other:words@PROXY.example:8080",
        "proxy.example:8080",
    ],
)
def test_known(url: str) -> None:
    assert unknown_proxies([DockerProxy("daemon.json", url)], KNOWN) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://u:geheim@p.example:3128", '[proxy] parent = "http://p.example:3128"'),
        ("https://p.example", '[proxy] parent = "https://p.example:443"'),
        ("p.example:81", '[proxy] parent = "http://p.example:81"'),
        ("http://[2001:db8::1]:3128", '[proxy] parent = "http://[2001:db8::1]:3128"'),
        ("socks5://p.example:1080", "can be no parent"),
        ("http://p.example:99999", "does not know"),
        ("http://[", "does not know"),
        ("http://127.0.0.1:3129", "does not know"),
    ],
)
def test_unknown(url: str, words: str) -> None:
    (sentence,) = unknown_proxies([DockerProxy("daemon.json", url)], KNOWN)
    assert words in sentence
    assert sentence.startswith("daemon.json names the proxy ")
    assert "geheim" not in sentence


def test_one_proxy_is_told_once() -> None:
    found = [DockerProxy(where, "http://p.example:1") for where in ("a", "b")]
    assert len(unknown_proxies(found, KNOWN)) == 1


def test_they_are_found_in_daemon_json_and_in_the_environment(tmp_path: Path) -> None:
    json = tmp_path / "daemon.json"
    json.write_text('{"proxies": {"http-proxy": "http://a:1", "https-proxy": "", "no-proxy": "x"}}')
    for pid, comm in (("7", "dockerd"), ("8", "bash")):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text(f"{comm}\n")
        (tmp_path / pid / "status").write_text("Uid:\t0\t0\t0\t0\n")
        (tmp_path / pid / "environ").write_bytes(b"PATH=/bin\0https_proxy=http://b:2\0NO_PROXY=c\0")
    assert gather_proxies(json, tmp_path) == [
        DockerProxy(f"{json}: proxies.http-proxy", "http://a:1"),
        DockerProxy("environment of dockerd (7): https_proxy", "http://b:2"),
    ]


def test_a_process_that_calls_itself_dockerd_is_not_believed(tmp_path: Path) -> None:
    for pid, uid in (("7", 0), ("8", 65534)):
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "comm").write_text("dockerd\n")
        many = b"\0".join(b"HTTP_PROXY=http://p%s-%d:1" % (pid.encode(), n) for n in range(9))
        (tmp_path / pid / "environ").write_bytes(many)
        (tmp_path / pid / "status").write_text(f"Name:\tdockerd\nUid:\t{uid}\t0\t0\t0\n")
    assert gather_proxies(tmp_path / "none", tmp_path) == [
        DockerProxy("environment of dockerd (7): HTTP_PROXY", "http://p7-0:1")
    ]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"proxies": 1}', '{"proxies": {"http-proxy": 1}}']
)
def test_a_daemon_json_that_makes_no_sense_names_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "daemon.json").write_text(text)
    assert gather_proxies(tmp_path / "daemon.json", tmp_path / "none") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(("by", "believed"), [
    ([], True),
    (["setpriv", "--bounding-set=-all", "--inh-caps=-all"], False),
    (["unshare", "--user", "--map-root-user"], False),
])  # fmt: skip
def test_root_of_a_container_that_calls_itself_dockerd(by: list[str], believed: bool) -> None:
    """In the host's network namespace it would be asked who is covered, and say nobody."""
    with subprocess.Popen(
        [*by, "python3", "-c", _PRETEND], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_dockerd(Path("/proc", str(process.pid))) is believed
        process.kill()
