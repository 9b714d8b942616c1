"""``ramnet hold``: every scope refused at once, before there is a policy or a gate.

On the road to the first rule there is no click, no msgspec and no pyroute2, and no question that
a rule does not need: boot waits for this. What cannot be read or reached is said afterwards.

It never replaces the table of a running service. Where the lock is free, whatever table stands
(an earlier hold, a dead service's) is replaced in one transaction; where it is taken, the table
is only made if there is none, and the kernel sees to that. Its own table has no owner, since it
must outlive this process and be anybody's to take over; an orphan, as a dead service leaves one,
cannot lose its flags, so it is deleted and the table made in its place in that transaction.
"""

import contextlib
import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from ramnet.config_text import read_text
from ramnet.errors import ConfigError, KernelRefusedError, RamnetError
from ramnet.kernel import cgroup, libc
from ramnet.kernel.netns import namespace_path
from ramnet.kernel.nft import Nft
from ramnet.kernel.sockdiag import ListeningPorts
from ramnet.ruleset.hold import MARK_OF_HOLD, Held, Means, render_texts, table_of
from ramnet.ruleset.notes import sysctls_before
from ramnet.ruleset.table import has_flags, is_owned

_R = TypeVar("_R")

DEFAULT_LOCK: Final = Path("/run/ramnet/lock")
_PORT_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class HeldScope(NamedTuple):
    """The part of a ``[[scope]]`` that matters here."""

    name: str = "self"
    netns: str = "self"
    cgroup: str | None = None

    @property
    def table(self) -> str:
        """Its table, the same as ``run`` has for it."""
        return table_of(self.name, self.cgroup)


class Orders(NamedTuple):
    """What is to be held; ``problem`` says why it is this machine's own namespace, if it is."""

    scopes: list[HeldScope]
    lock: Path = DEFAULT_LOCK
    problem: str | None = None


def read_orders(path: Path) -> Orders:
    """Scopes and lock from ``ramnet.toml``, of which only those parts need to be in order."""
    import tomllib

    own = [HeldScope()]
    try:
        document = tomllib.loads(read_text(path))
    except RamnetError as error:
        return Orders(own, problem=str(error))
    except RecursionError:
        return Orders(own, problem=f"{path}: it is nested too deeply")
    except Exception as error:  # whatever is wrong with it
        return Orders(own, problem=f"{path}: {error}")
    control = document.get("control_socket")
    lock = DEFAULT_LOCK
    if isinstance(control, str) and "\0" not in control:
        lock = Path(control).parent / "lock"
    entries = document.get("scope")
    scopes = [_scope(entry) for entry in entries] if isinstance(entries, list) else []
    found = [scope for scope in scopes if scope is not None]
    if not found or len(found) < len(scopes):
        return Orders([*found, *own], lock, f"{path}: a [[scope]] cannot be read, or there is none")
    return Orders(found, lock)


def _scope(entry: object) -> HeldScope | None:
    if not isinstance(entry, dict):
        return None
    name, netns, group = entry.get("name"), entry.get("netns", "self"), entry.get("cgroup")
    if not (isinstance(name, str) and isinstance(netns, str)) or "\0" in netns:
        return None
    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        return None
    if group is not None and not _is_cgroup(group):
        return None
    return HeldScope(name, netns, group)


def _is_cgroup(path: object) -> bool:
    """A relative path that neither leaves the cgroup root nor ends a string of nft's."""
    if not isinstance(path, str) or not path.isprintable() or set(path) & set('"\\'):
        return False
    return not any(part in ("", ".", "..") for part in path.strip("/").split("/"))


def hold(orders: Orders, tell: Callable[[str], None]) -> int:
    """Hold every scope and tell what went wrong; the exit code of the contract.

    0 all is held; 1 a scope cannot be reached yet, or a running service holds it; 2 the
    configuration is no good, and this namespace is held; 4 the kernel refused, or anything else
    went wrong: init then closes the machine by other means (``vm-image/lib/hold``).
    """
    code = 0
    runs = _service_runs(orders.lock)
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for scope in orders.scopes:
            try:
                if note := _in_namespace(scope.netns, partial(_hold_here, scope, not runs)):
                    tell(f"scope {scope.name}: {note}")
            except RamnetError as error:
                tell(f"scope {scope.name} is not held: {error}")
                code = max(code, 4 if isinstance(error, KernelRefusedError) else 1)
            except Exception as error:  # of whatever library: the next scope is held all the same
                tell(f"scope {scope.name} is not held: unexpected {error!r}")
                code = 4
            finally:
                libc.setns(home, libc.CLONE_NEWNET)
    finally:
        os.close(home)
    if orders.problem is not None:
        tell(f"{orders.problem}; this machine's own network namespace is held")
        return code if code == 4 else 2
    return code


def hold_the_bare(scopes: list[HeldScope], tell: Callable[[str], None]) -> None:
    """Hold the scopes that have no rules of ours yet: for a service that cannot start.

    Called under the service's own lock. Where rules stand, they refuse already.
    """
    for scope in scopes:
        try:
            done = hold_bare(scope) or "the rules that stand go on refusing"
            tell(f"scope {scope.name}: {done} until ramnet runs, or `ramnet down`")
        except Exception as error:  # of whatever library: the next is held all the same
            tell(f"scope {scope.name} is not held: {error}")


def hold_bare(scope: HeldScope) -> str | None:
    """Hold the scope unless rules of ours stand; what was done, None where they stand.

    Raises RamnetError.
    """
    from concurrent.futures import ThreadPoolExecutor

    from ramnet.kernel.reserve import RESERVE

    def work() -> str | None:
        if Nft().listing(scope.table) is not None:
            return None
        note = _hold_here(scope, False)
        return "everything is refused" + (f"; {note}" if note else "")

    with RESERVE.lent(), ThreadPoolExecutor(max_workers=1) as thread:  # in there until it ends
        return thread.submit(_in_namespace, scope.netns, work).result()


def release(scope: HeldScope, *, only_hold: bool = False) -> bool:
    """Delete the scope's table, or only one that ``hold`` made; whether there was one.

    An empty cgroup of the scope goes with it, if it is ours.
    """
    from concurrent.futures import ThreadPoolExecutor

    def delete() -> bool:
        nft = Nft()
        listing = nft.listing(scope.table)
        ours = listing is not None and (MARK_OF_HOLD in listing or not only_hold)
        if ours:
            nft.apply(f"delete table inet {scope.table}\n")
        return ours

    with ThreadPoolExecutor(max_workers=1) as thread:  # it stays in that namespace and ends
        found = thread.submit(_in_namespace, scope.netns, delete).result()
    mount = cgroup.cgroup2_mount()
    if found and scope.cgroup is not None and mount is not None:
        cgroup.remove_ours(cgroup.place(scope.cgroup, mount), mount)
    return found


def _service_runs(lock: Path) -> bool:
    """Whether a service (or ``down``) holds the lock; asking takes nothing from anybody."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _in_namespace(netns: str, work: Callable[[], _R]) -> _R:
    path = namespace_path(netns)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except PermissionError:
        raise KernelRefusedError(f"no permission to open {path}") from None
    except OSError as error:
        raise ConfigError(f"cannot open {path}: {error.strerror}; make it first") from None
    try:
        libc.setns(descriptor, libc.CLONE_NEWNET)
        return work()
    finally:
        os.close(descriptor)


def _hold_here(scope: HeldScope, replace: bool) -> str | None:
    """Apply the best table that the kernel takes; what is to be said of it, if anything."""
    nft = Nft()
    standing = nft.listing(scope.table)
    if not replace and standing is not None:
        raise RamnetError("ramnet runs, and its own rules stand")
    if is_owned(standing):
        raise KernelRefusedError(f"another process owns the table inet {scope.table}")
    refusal: KernelRefusedError | None = None
    held = _look_around(scope)._replace(
        flagged=has_flags(standing), sysctls_before=sysctls_before(standing or "")
    )
    for means, text in render_texts(held, replace=replace):
        try:
            nft.apply(text)
        except KernelRefusedError as error:
            refusal = refusal or error
            continue
        if MARK_OF_HOLD in (nft.listing(scope.table) or ""):
            return _note(scope, means)
    raise refusal or KernelRefusedError("the kernel took the rules and does not list them")


def _note(scope: HeldScope, means: Means) -> str | None:
    if scope.cgroup is not None and not means.cgroup:
        return "its cgroup cannot be told apart here; the whole network namespace is held"
    return None


def _look_around(scope: HeldScope) -> Held:
    directory, level = _cgroup(scope.cgroup)
    listening, old_tcp, old_udp = frozenset[int](), frozenset[int](), frozenset[int]()
    with contextlib.suppress(KernelRefusedError, OSError):
        ports = ListeningPorts()
        listening = ports.read()
        old_tcp, old_udp = ports.read_connected()
        ports.close()
    return Held(scope.table, directory, level, listening, old_tcp, old_udp, _ephemeral())


def _ephemeral() -> tuple[int, int]:
    try:
        low, high = _PORT_RANGE.read_text(encoding="ascii").split()
        return int(low), int(high)
    except (OSError, ValueError):
        return 32768, 60999


def _cgroup(path: str | None) -> tuple[str | None, int]:
    """The cgroup as nft names it, made if it is not there; None where there can be none."""
    mount = cgroup.cgroup2_mount()
    if path is None or mount is None:
        return None, 1
    directory = cgroup.place(path, mount)
    try:
        cgroup.make_ours(directory, mount)
    except KernelRefusedError:
        return None, 1
    return cgroup.nft_path(directory), len(directory.relative_to(mount).parts)
