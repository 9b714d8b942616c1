"""What is accepted and yet worth a second look: the remarks of ``policy validate``."""

from collections.abc import Iterator
from typing import NamedTuple

from ramnet.policy.cover import Cover
from ramnet.policy.decision import Policy
from ramnet.policy.document import Document
from ramnet.policy.entry import Entry
from ramnet.policy.index import preset_uses
from ramnet.policy.locate import Shape, lines_of
from ramnet.policy.pattern import Kind
from ramnet.policy.presets import preset_of, use_preset
from ramnet.policy.shared import is_public_suffix, is_shared

WARNING = "warning"
NOTE = "note"


class Finding(NamedTuple):
    """One remark. ``severity`` is ``warning`` (surely not meant) or ``note`` (to be known).

    ``key`` is its place in the document, empty for the whole; ``line`` from 1, None
    where it is not known.
    """

    code: str
    severity: str
    key: str
    text: str
    line: int | None = None


def findings(
    document: Document, *, data: bytes | None = None, previous_version: int | None = None
) -> list[Finding]:
    """Return the remarks on a document, in its order.

    ``data`` are the bytes it was read from, for the lines; ``previous_version`` is that
    of the policy it would replace.

    Raises:
        PolicyError: it cannot be compiled.
    """
    cover = Cover(document)
    found = [*_on_the_whole(document, cover.policy, previous_version), *_on_presets(document)]
    for index, entry in enumerate(document.entries):
        key = document.key_of(index)
        found += [Finding(code, WARNING, key, text) for code, text in cover.of(index, entry)]
        if entry.allowed:
            found += _on_width(key, entry)
            found += _on_redirects(key, entry, cover.policy)
    return found if data is None else _with_lines(found, data, document.shape)


def _on_the_whole(
    document: Document, policy: Policy, previous_version: int | None
) -> Iterator[Finding]:
    if not document.enabled:
        yield Finding("unrestricted", WARNING, "enabled", "nothing is restricted")
    elif not document.enforce:
        text = "nothing is refused; what would be is recorded (ramnet events)"
        yield Finding("not-enforced", WARNING, "enforce", text)
    if previous_version is not None and document.version <= previous_version:
        text = f"{document.version} does not rise above {previous_version}, the one in force"
        yield Finding("version-not-risen", WARNING, "version", text)
    listed = document.docker_hub or document.presets or any(e.allowed for e in document.entries)
    if not listed:
        yield Finding("nothing-allowed", WARNING, "", "nothing is allowed at all")
    shut = [
        host for host in use_preset("docker-hub").registries if not policy.decide(host, 443).allowed
    ]
    if shut and document.enabled:
        severity = WARNING if document.docker_hub else NOTE
        text = f"Docker Hub cannot be reached: {', '.join(shut)} not allowed"
        yield Finding("docker-hub-shut", severity, "docker_hub", text)


def _on_presets(document: Document) -> Iterator[Finding]:
    places = {text: index for index, text in reversed(list(enumerate(document.presets)))}
    for index, text in enumerate(document.presets):
        if places[text] != index:
            yield Finding("duplicate", WARNING, f"presets[{index}]", f"{text} stands twice")
    for use, _ in preset_uses(document):
        key = f"presets[{places[use.text]}]" if use.text in places else "docker_hub"
        for host in use.broad:
            yield Finding("broad", NOTE, key, f"{host} is shared by all tenants of its cloud")


def _on_width(key: str, entry: Entry) -> Iterator[Finding]:
    """Remark on a pattern under which strangers can have names."""
    below = entry.kind != Kind.EXACT
    if entry.kind == Kind.ADDRESS:
        return
    if below and is_public_suffix(entry.base):
        text = f"anybody can register a name that {entry.text} matches"
        yield Finding("wide", WARNING, key, text)
    elif is_shared(entry.base, below=below):
        text = f"{entry.text} is shared by all tenants of its cloud"
        yield Finding("broad", NOTE, key, text)


def _on_redirects(key: str, entry: Entry, policy: Policy) -> Iterator[Finding]:
    """Remark on a known registry whose layers lie on hosts that are not allowed."""
    if entry.kind not in (Kind.EXACT, Kind.DOMAIN):
        return
    use = preset_of(entry.base)
    missing = [
        host
        for host in (use.redirects if use else ())
        if not policy.decide(host.replace("*", "x"), 443).allowed
    ]
    if use and missing:
        text = f"{entry.base} sends clients to {', '.join(missing)}, not allowed; "
        yield Finding("missing-redirect", WARNING, key, text + f"preset {use.text!r} has them")


def _with_lines(found: list[Finding], data: bytes, shape: Shape) -> list[Finding]:
    lines = lines_of(data, shape, {finding.key for finding in found if finding.key})
    return [finding._replace(line=lines.get(finding.key)) for finding in found]
