"""Who is signed in: a token of the organisation's identity provider, verified.

JWT (RFC 7519) signed by a key of a JWKS (RFC 7517). Algorithms are listed; ``none`` and HMAC are
in no list, so a public key cannot be used as a shared secret (RFC 8725 sections 2.1 and 3.1).
"""

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from ramnet.errors import RamnetError

if TYPE_CHECKING:
    from joserfc.jwk import KeySet

MAX_TOKEN: Final = 32 * 1024
LEEWAY: Final = 60
"""Seconds by which two clocks may differ."""
_MAX_NAMES: Final = 1000
Name = Annotated[str, msgspec.Meta(max_length=200)]


class TokenError(RamnetError):
    """The token cannot be accepted; the text says why."""


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token must be like."""

    issuer: str
    audience: str
    algorithms: list[str]
    organizations_claim: str
    groups_claim: str


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who it is, for how long."""

    subject: Name
    organizations: Annotated[list[Name], msgspec.Meta(max_length=_MAX_NAMES)]
    groups: Annotated[list[Name], msgspec.Meta(max_length=_MAX_NAMES)]
    expires: float
    """Unix time."""


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is on the disk: verified again at each start."""

    token: str
    keys: bytes


def verify_token(token: str, keys: bytes, rules: Rules, now: float) -> Claims:
    """Verify signature, issuer, audience and times. ``keys`` is a JWKS. Raises TokenError."""
    from joserfc import jwt
    from joserfc.errors import JoseError

    if len(token) > MAX_TOKEN:
        raise TokenError("the token is too long")
    key_set = _key_set(keys)
    try:
        found = jwt.decode(token, key_set, algorithms=rules.algorithms)
        jwt.JWTClaimsRegistry(
            now=int(now),
            leeway=LEEWAY,
            iss={"essential": True, "value": rules.issuer},
            aud={"essential": True, "value": rules.audience},
            exp={"essential": True},
            sub={"essential": True},
        ).validate(found.claims)
    except JoseError as error:
        raise TokenError(f"the token is not accepted: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise TokenError(f"the token cannot be read: {error}") from None
    return _claims(found.claims, rules)


def _key_set(keys: bytes) -> "KeySet":
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    try:
        return KeySet.import_key_set(msgspec.json.decode(keys))
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TokenError(f"the issuer's keys are no key set (RFC 7517): {error}") from None


def _claims(found: dict[str, Any], rules: Rules) -> Claims:
    try:
        return msgspec.convert(
            {
                "subject": found["sub"],
                "organizations": _names(found.get(rules.organizations_claim)),
                "groups": _names(found.get(rules.groups_claim)),
                "expires": found["exp"],
            },
            Claims,
            strict=False,
        )
    except (msgspec.ValidationError, TypeError) as error:
        raise TokenError(f"the token says what cannot be read: {error}") from None


def _names(value: Any) -> Any:
    """One name or a list of them; providers do both."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value
