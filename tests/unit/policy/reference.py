"""The meaning of a policy, written as plainly as can be: what the index must agree with."""

from dataclasses import dataclass

from ramnet.policy import Outcome


@dataclass(frozen=True)
class Line:
    """One entry as an administrator writes it."""

    text: str
    domain: bool = False
    port: int | None = None
    allowed: bool = True
    local: bool = False

    def table(self) -> dict[str, object]:
        """The entry as the document has it."""
        host = self.text if self.port is None else f"{self.text}:{self.port}"
        key = "domain" if self.domain else "host"
        return {key: host, "allowed": self.allowed, "local": self.local}

    def matches_name(self, name: str) -> bool:
        if self.domain:
            return name == self.text or name.endswith("." + self.text)
        return _labels_match(self.text.split("."), name.split("."))

    def on(self, port: int) -> bool:
        return self.port is None or self.port == port


def outcome(lines: list[Line], name: str, port: int | None, ports: list[int]) -> Outcome:
    """Decide by trying every line; with port None, by trying every one of ``ports``.

    ``ports`` holds every port that the lines name and one that none names.
    """
    if port is not None:
        return _outcome_on(lines, name, port)
    every = [_outcome_on(lines, name, p) for p in ports]
    if Outcome.ALLOWED in every:
        return Outcome.ALLOWED
    denies_all = any(x.matches_name(name) and not x.allowed and x.port is None for x in lines)
    allows_some = any(x.matches_name(name) and x.allowed for x in lines)
    return Outcome.DENIED if denies_all or allows_some else Outcome.UNLISTED


def _outcome_on(lines: list[Line], name: str, port: int) -> Outcome:
    matching = [line for line in lines if line.matches_name(name) and line.on(port)]
    if any(not line.allowed for line in matching):
        return Outcome.DENIED
    return Outcome.ALLOWED if matching else Outcome.UNLISTED


def _labels_match(pattern: list[str], name: list[str]) -> bool:
    if pattern[0] == "**":
        rest = pattern[1:]
        return any(_labels_match(rest, name[i:]) for i in range(1, len(name)) if rest)
    if len(pattern) != len(name):
        return False
    return all(_label_matches(p, n) for p, n in zip(pattern, name, strict=True))


def _label_matches(pattern: str, label: str) -> bool:
    if not pattern:
        return not label
    if pattern[0] == "*":
        return any(_label_matches(pattern[1:], label[i:]) for i in range(len(label) + 1))
    return bool(label) and label[0] == pattern[0] and _label_matches(pattern[1:], label[1:])
