"""What is checked in one boot. The runner names it: ``vm.scenario=`` on the kernel command line."""

import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import builder
import caveats
import facts
import wsl
from report import Check, check, need, run, say, wait

POLICY = Path("/etc/ramnet/policy.toml")
SIGN_IN = f"acme has disallowed access to {facts.ALLOWED}. Sign in to acme first"
PHASE = Path("/var/lib/vm-phase")


def boot() -> None:
    """The machine as it comes up, and what a person does to its services."""
    start()
    check("refusal-readable-over-tls", refusal_readable_over_tls)
    check("container-keeps-names", container_keeps_names)
    check("builder-is-covered", builder.is_covered)
    check("ramnet-killed", ramnet_killed)
    check("gate-killed", gate_killed)
    check("ramnet-stopped", ramnet_stopped)
    check("caveats-of-the-kernel", caveats.of_the_kernel)
    check("caveats-dns-is-named", caveats.take_dns_away)
    check("dockerd-restarted", dockerd_restarted)
    check("caveats-of-dockers-dns", caveats.of_dockers_dns)
    check("full-disk", full_disk)
    check("nothing-left-ever", facts.need_no_strays)
    say("note", "tier", str(facts.status()["scopes"][0]["tier"]))
    say("note", "docker", run("docker", "version", "--format", "{{.Server.Version}}").text)
    say("note", "kernel", os.uname().release)


def start() -> None:
    """The machine as it comes up, to be repeated."""
    check("no-ordering-cycle", no_ordering_cycle)
    check("hold-before-network", hold_before_network)
    check("enforcing", facts.wait_enforcing)
    say("note", "boot-to-enforcing", f"{facts.started('ramnet.service') / 1e6:.1f} s")
    check("dockerd-after-ramnet", dockerd_after_ramnet)
    check("nothing-left-before-enforcing", nothing_left_before_enforcing)
    check("dockerd-in-slice", dockerd_in_slice)
    check("pull-allowed", facts.need_pull)
    check("pull-blocked", facts.need_refusal)


def readonly() -> None:
    """Nothing can be written but below /run and /var."""
    check("root-is-read-only", root_is_read_only)
    check("enforcing", facts.wait_enforcing)
    check("pull-allowed", facts.need_pull)
    check("pull-blocked", facts.need_refusal)
    check("refusal-readable-over-tls", refusal_readable_over_tls)
    check("nothing-left-ever", facts.need_no_strays)


def control() -> None:
    """Without ramnet the prober gets out: the capture of the other boots would have seen it."""
    check("ramnet-is-masked", lambda: need(facts.started("ramnet-hold.service") == 0, "it runs"))
    check("capture-sees-the-prober", lambda: wait("strays", lambda: len(facts.strays()) > 3))


def unable() -> None:
    """A kernel without nf_tables."""
    check("hold-says-so", lambda: need(facts.unit("ramnet-hold.service", "Result") == "exit-code",
                                       facts.unit("ramnet-hold.service", "Result")))  # fmt: skip
    check("dockerd-does-not-run", dockerd_does_not_run)
    check("wire-came-up", wire_is_up)
    check("prober-tries", prober_tries)
    check("nothing-left-ever", lambda: need(not facts.sent(), f"{facts.sent()[:3]}"))


def other_init() -> None:
    """An init that is not systemd."""
    check("enforcing", facts.wait_enforcing)
    say("note", "boot-to-enforcing", f"{time.monotonic():.1f} s")
    check("dockerd-runs", lambda: wait("dockerd", lambda: run("docker", "version").code == 0))
    check("nothing-left-before-enforcing", nothing_left_before_enforcing)
    check("pull-allowed", facts.need_pull)
    check("pull-blocked", facts.need_refusal)
    check("refusal-readable-over-tls", refusal_readable_over_tls)
    check("supervisor-killed", supervisor_killed)
    if facts.given("vm.scenario") == "openrc":
        check("openrc-has-started-them", openrc_has_started_them)
    check("nothing-left-ever", facts.need_no_strays)


def openrc_has_started_them() -> None:
    told = run("rc-status", "--all").text
    for name in ("ramnet-hold", "ramnet", "docker"):
        lines = [line for line in told.splitlines() if line.split()[:1] == [name]]
        need(any("started" in line for line in lines), told)


def supervisor_killed() -> None:
    """Whatever init there is has it back."""
    old = facts.processes("ramnet", "run")
    need(len(old) > 0, "it does not run")
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait("another ramnet", lambda: bool(facts.processes("ramnet", "run").difference(old)))
    facts.wait_enforcing()
    facts.need_pull()
    facts.need_refusal()


def session() -> None:
    """Nothing is reachable for who is not signed in; ramnet's sandbox keeps the session."""
    check("refusing", lambda: wait("refusing", lambda: facts.status().get("state") == "refusing"))
    check("dockerd-runs", lambda: wait("dockerd", lambda: run("docker", "version").code == 0))
    check("signed-out", lambda: facts.need_refusal(facts.ALLOWED, SIGN_IN))
    check("token-of-another-organisation", lambda: sign_in("foreign", code=1))
    check("still-signed-out", lambda: facts.need_refusal(facts.ALLOWED, SIGN_IN))
    check("sign-in", lambda: sign_in("token", code=0))
    check("pull-allowed", facts.need_pull)
    check("pull-blocked", facts.need_refusal)
    check("ramnet-killed", ramnet_killed)
    check("ramnet-stopped", ramnet_stopped)
    check("sign-out", sign_out)
    check("nothing-left-ever", facts.need_no_strays)


def sign_in(name: str, *, code: int) -> None:
    """With one of the runner's tokens; it is in force when it is answered."""
    done = run("ramnet", "sign-in", "--token-file", f"/opt/vm/{name}")
    need(done.code == code, f"{done.code}: {done.text}")


def sign_out() -> None:
    done = run("ramnet", "sign-out")
    need(done.code == 0, done.text)
    facts.need_refusal(facts.ALLOWED, SIGN_IN)
    run("systemctl", "restart", "ramnet.service")
    facts.need_refusal(facts.ALLOWED, SIGN_IN)


def power() -> None:
    """A disk that keeps what is written, and a machine that loses power; one phase a boot."""
    phase = PHASE.read_text().strip() if PHASE.exists() else "first-boot"
    if phase == "first-boot":
        # vm-cut.service has told the runner already; it ends this boot at any moment.
        time.sleep(600)
    if phase == "after-first-boot":
        _healthy("after-cut-of-first-boot")
        PHASE.write_text("after-write\n")
        os.sync()
        say("cut", "policy-write")
        _write_policies()
    _healthy("after-cut-of-policy-write")
    check("full-disk", full_disk)


def _healthy(when: str) -> None:
    check(f"enforcing-{when}", facts.wait_enforcing)
    check(f"pull-blocked-{when}", facts.need_refusal)
    check(f"nothing-left-{when}", facts.need_no_strays)
    check(f"pull-allowed-{when}", facts.need_pull)


def _write_policies() -> None:
    """For ever, in the worst way there is: in place, a little at a time."""
    text = POLICY.read_text()
    padding = "".join(f'[[registry]]\nhost = "h{i}.allowed.example"\n' for i in range(3000))
    for version in range(2, 1_000_000):
        with POLICY.open("w") as file:
            for line in (text + padding).splitlines(keepends=True):
                file.write(line)
            file.write(f"# {version}\n")
            file.flush()
            os.fsync(file.fileno())


def no_ordering_cycle() -> None:
    """Of a cycle systemd leaves one part out, another one at each boot."""
    words = run("journalctl", "--boot", "--no-pager", "--output=cat").text
    found = [line for line in words.splitlines() if "ordering cycle" in line]
    need("Reached target" in words, "the journal has nothing of init")
    need(not found, " / ".join(found))


def hold_before_network() -> None:
    held, network = facts.started("ramnet-hold.service"), facts.started("network-pre.target")
    wired = int(facts.unit("vm-wire.service", "ExecMainStartTimestampMonotonic"))
    prober = facts.started("vm-prober.service")
    need(0 < prober < held < network < wired, f"{prober} {held} {network} {wired}")


def dockerd_after_ramnet() -> None:
    docker = int(facts.unit("docker.service", "ExecMainStartTimestampMonotonic"))
    need(0 < facts.started("ramnet.service") < docker, f"dockerd started at {docker} us")


def nothing_left_before_enforcing() -> None:
    prober_tries()
    if Path("/run/systemd/system").exists():
        wire_is_up()
    began = _enforcing_since()
    early = [line for line in facts.sent() if float(line.split()[0]) < began]
    need(not early, f"{len(early)} packets left before {began}: {early[:3]}")
    facts.need_no_strays()


def _enforcing_since() -> float:
    for line in run("ramnet", "events", "--json").text.splitlines():
        event = json.loads(line)
        if event.get("reason") == "enforcing":
            return datetime.fromisoformat(event["time"]).timestamp()
    raise AssertionError("no event says that ramnet enforces")


def prober_tries() -> None:
    before = int(Path("/run/prober").read_text() or 0)
    need(before > 0, "the prober has not tried")
    wait("a try of the prober", lambda: int(Path("/run/prober").read_text() or 0) > before)


def wire_is_up() -> None:
    need(facts.unit("vm-wire.service", "Result") == "success", Path("/run/wire.log").read_text())


def dockerd_in_slice() -> None:
    pid = facts.unit("docker.service", "MainPID")
    found = Path(f"/proc/{pid}/cgroup").read_text()
    need("ramnet.slice/docker.service" in found, found)


def refusal_readable_over_tls() -> None:
    answer = facts.ask_over_tls(facts.BLOCKED, facts.BLOCKED_ADDRESS)
    need(facts.SENTENCE in answer, answer)


def container_keeps_names() -> None:
    facts.need_pull()
    image = f"{facts.ALLOWED}/{facts.IMAGE}"
    done = run("docker", "run", "--rm", image, "nslookup", "anything.example")
    need("203.0.113.99" in done.text, done.text)


def ramnet_killed() -> None:
    docker, old = facts.unit("docker.service", "MainPID"), facts.supervisor()
    os.kill(old, signal.SIGKILL)
    wait("another ramnet", lambda: facts.supervisor() not in (0, old))
    facts.wait_enforcing()
    need(facts.unit("docker.service", "MainPID") == docker, "dockerd was restarted with it")
    facts.need_pull()
    facts.need_refusal()


def gate_killed() -> None:
    old = int(facts.status()["scopes"][0]["gate_pid"])
    os.kill(old, signal.SIGKILL)

    def anew() -> bool:
        scopes = facts.status().get("scopes") or [{}]
        return scopes[0].get("gate_pid") not in (None, old) and facts.enforcing()

    wait("another gate", anew)
    facts.need_refusal()


def ramnet_stopped() -> None:
    docker = facts.unit("docker.service", "MainPID")
    run("systemctl", "stop", "ramnet.service")
    began = time.monotonic()
    done = facts.pull(facts.ALLOWED)
    need(done.code != 0, "an allowed pull went through without the gate")
    need(time.monotonic() - began < 60, "the refusal was not prompt")
    need(facts.unit("docker.service", "MainPID") == docker, "dockerd was stopped with it")
    run("systemctl", "start", "ramnet.service")
    facts.wait_enforcing()
    facts.need_pull()


def dockerd_restarted() -> None:
    done = run("systemctl", "restart", "docker.service")
    need(done.code == 0, done.text)
    facts.need_pull()
    facts.need_refusal()
    dockerd_in_slice()


def full_disk() -> None:
    """No room for events and the last good policy: everything else is enforced."""
    filler = Path("/var/lib/ramnet/filler")
    if not facts.given("ramnet.disk"):
        run("mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "full", "/var/lib/ramnet")
    try:
        with filler.open("wb") as file:
            while True:
                file.write(b"\0" * (1 << 20))
                file.flush()
    except OSError:
        pass
    run("systemctl", "restart", "ramnet.service")
    facts.wait_enforcing()
    facts.need_refusal()
    filler.unlink()
    facts.need_pull()


def root_is_read_only() -> None:
    try:
        Path("/etc/written").write_text("x")
    except OSError:
        return
    need(False, "/etc can be written to")


def dockerd_does_not_run() -> None:
    need(facts.unit("docker.service", "MainPID") == "0", "it runs")


SCENARIOS: dict[str, Check] = {
    "boot": boot,
    "start": start,
    "readonly": readonly,
    "control": control,
    "unable": unable,
    "power": power,
    "session": session,
    "plain": other_init,
    "openrc": other_init,
    "wsl": lambda: wsl.play(systemd=True),
    "wsl-boot": lambda: wsl.play(systemd=False),
}
