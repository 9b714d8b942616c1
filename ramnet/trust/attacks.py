"""What a refused repository would have been: the attack by the name that TUF gives it.

TUF specification, section 1.5.2 (goals for attacks to be prevented). python-tuf tells some of
them apart by its words alone, so those words are pinned by tests (tests/trust/test_attacks.py).
"""

from tuf.api import exceptions as tuf
from tuf.api.serialization import DeserializationError

from ramnet.errors import PolicyError

_NAMED_BY_METADATA = (".snapshot.json", ".targets.json")


class RefusedError(PolicyError):
    """What the server offers is not taken; ``attack`` names what it would have been."""

    def __init__(self, attack: str, reason: str) -> None:
        self.attack = attack
        super().__init__(f"{attack}: {reason}")


class UnreachableError(PolicyError):
    """The server did not give what was asked for, which needs no attacker."""


class TruncatedError(tuf.DownloadError):
    """Fewer bytes came than were announced."""


def explain(error: Exception, *, file: str, known: bool) -> PolicyError:
    """The refusal for what python-tuf raised while ``file`` was looked at.

    ``known``: this machine has had a policy of that repository before.
    """
    text = f"{file}: {error}" if str(error) else file
    if (attack := _attack(error, file, known)) is not None:
        return RefusedError(attack, text)
    return UnreachableError(text)


def _attack(error: Exception, file: str, known: bool) -> str | None:
    said = str(error)
    match error:
        case tuf.ExpiredMetadataError():
            return "freeze" if known and said.startswith("timestamp") else "expired"
        case tuf.BadVersionNumberError():
            return _of_versions(said)
        case tuf.UnsignedMetadataError():
            return "wrong signature"
        case tuf.DownloadLengthMismatchError():
            return "oversized"
        case tuf.SlowRetrievalError():
            return "slow retrieval"
        case TruncatedError():
            return "truncated"
        case tuf.LengthOrHashMismatchError():
            return "mix-and-match" if file.endswith(_NAMED_BY_METADATA) else "wrong content"
        case DeserializationError():
            return "not JSON"
        case tuf.RepositoryError():
            return "rollback" if "missing info" in said else "malformed"
        case _:
            return None


def _of_versions(said: str) -> str:
    """Numbers that fell, or numbers that do not belong together."""
    if "must" in said or ".json version" in said:
        return "rollback"
    return "mix-and-match"
