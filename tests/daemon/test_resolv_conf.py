"""Which upstreams a scope's resolver gets, and never a stub whose questions come back."""

from pathlib import Path

import pytest

from ramnet.daemon.resolv_conf import choose, read_in_root

PLAIN = "nameserver 192.0.2.53\nsearch corp.example\n"
STUB = "nameserver 127.0.0.53\nsearch corp.example\n"
UPSTREAMS = "nameserver 198.51.100.53\n"


@pytest.mark.parametrize(
    ("text", "systemd", "configured", "chosen"),
    [
        (PLAIN, None, False, PLAIN),
        (PLAIN, UPSTREAMS, False, PLAIN),
        (STUB, UPSTREAMS, False, UPSTREAMS),
        ("nameserver ::1\n", UPSTREAMS, False, UPSTREAMS),
        (STUB, None, True, STUB),  # for its search list
        (None, None, True, ""),
        (STUB, STUB, False, None),
        (STUB, None, False, None),
        ("nameserver 127.1.2.3\n", "", False, None),
        ("search corp.example\n", UPSTREAMS, False, None),
        ("", None, False, None),
        (None, None, False, None),
    ],
)
def test_choice(
    text: str | None, systemd: str | None, configured: bool, chosen: str | None
) -> None:
    choice = choose(text, systemd, configured=configured)
    assert choice.text == chosen
    assert (choice.problem is None) == (chosen is not None)
    if choice.problem:
        assert 'set [resolver] upstream = ["ADDRESS"]' in choice.problem


def test_a_stub_beside_other_servers_is_passed_over_and_told() -> None:
    choice = choose(
        "nameserver 127.0.0.53\nnameserver 192.0.2.53\nsearch a\n", None, configured=False
    )
    assert choice.text == "nameserver 192.0.2.53\nsearch a"
    assert "127.0.0.53" in str(choice.problem)


def test_links_are_followed_below_the_root_of_the_process(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stub.conf").write_text("nameserver 192.0.2.1\n")
    link = tmp_path / "etc" / "resolv.conf"
    for target in ("/run/stub.conf", "../run/stub.conf"):
        link.symlink_to(target)
        assert read_in_root(str(tmp_path), "/etc/resolv.conf") == "nameserver 192.0.2.1\n"
        link.unlink()
    link.symlink_to("resolv.conf")  # to itself
    assert read_in_root(str(tmp_path), "/etc/resolv.conf") is None


def test_what_is_not_a_small_file_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "resolv.conf")
    assert read_in_root(str(tmp_path), "/resolv.conf") is None
    assert read_in_root(str(tmp_path), "/absent") is None
    (tmp_path / "large").write_text("x" * 1_000_000)
    assert len(read_in_root(str(tmp_path), "/large") or "") == 64 * 1024
