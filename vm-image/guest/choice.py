"""What is played: not every kernel that is given can play every scenario, and then it is said."""

from pathlib import Path

from report import run, say


def choose(name: str) -> str | None:
    """The scenario to play in place of ``name``, mostly that one itself; None for nothing.

    A kernel without nf_tables must refuse everything, whatever was to be seen of it.
    """
    if name == "unable" and has_nf_tables():
        say("note", "skipped", "nf_tables is built into this kernel")
        return None
    if name in ("unable", "control") or has_nf_tables():
        return name
    if not Path("/run/systemd/system").exists():
        say("note", "skipped", "this kernel has no nf_tables, and the other scenarios show it")
        return None
    say("note", "instead", "unable: this kernel has no nf_tables")
    return "unable"


def has_nf_tables() -> bool:
    """Whether nft(8) can be answered; its modules are loaded by that where they may be."""
    return run("nft", "list", "tables").code == 0
