"""Which tokens are accepted."""

import base64
import json
import time
from typing import Any

import pytest

from ramnet.trust.session import Claims, TokenError, verify_token
from tests.trust.issuer import ISSUER, RULES, Issuer

pytestmark = pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


def verify(issuer: Issuer, token: str, now: float | None = None) -> Claims:
    return verify_token(token, issuer.jwks, RULES, time.time() if now is None else now)


def test_a_good_token(issuer: Issuer) -> None:
    claims = verify(issuer, issuer.token())
    assert (claims.subject, claims.organizations, claims.groups) == (
        "dev@acme.example", ["acme"], ["dev"]
    )  # fmt: skip
    assert claims.expires > time.time() + 3000
    assert verify(issuer, issuer.token({"alg": "ES256", "kid": "ec"}, issuer.ec)).groups == ["dev"]
    assert verify(issuer, issuer.token(organizations="acme", groups=None)).groups == []
    assert verify(issuer, issuer.token(aud=["other", "ramnet"])).subject


def unsigned(issuer: Issuer) -> str:
    def piece(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    payload = issuer.token().split(".")[1]
    return f"{piece({'alg': 'none'})}.{payload}."


def tampered(issuer: Issuer) -> str:
    head, _, signature = issuer.token().split(".")
    other = issuer.token(organizations=["other"]).split(".")[1]
    return f"{head}.{other}.{signature}"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"exp": "never"},
        {"nbf": int(time.time()) + 3600},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"sub": None},
        {"groups": [["dev"]]},
        {"organizations": {"acme": True}},
        {"groups": ["x" * 201]},
    ],
    ids=str,
)
def test_claims_that_are_not_accepted(issuer: Issuer, claims: dict[str, Any]) -> None:
    with pytest.raises(TokenError):
        verify(issuer, issuer.token(**claims))


@pytest.mark.parametrize("make", [unsigned, tampered, Issuer.confused], ids=lambda f: f.__name__)
def test_forged_tokens(issuer: Issuer, make: Any) -> None:
    with pytest.raises(TokenError):
        verify(issuer, make(issuer))


def test_a_key_of_another_issuer(issuer: Issuer) -> None:
    with pytest.raises(TokenError):
        verify(issuer, Issuer().token(iss=ISSUER))


def test_an_algorithm_that_is_not_listed(issuer: Issuer) -> None:
    token = issuer.token({"alg": "RS512", "kid": "rsa"})
    with pytest.raises(TokenError):
        verify(issuer, token)


@pytest.mark.parametrize("token", ["", "a.b.c", "x" * 40000, "\0", "é.é.é", "e30.e30.e30"])
def test_rubbish(issuer: Issuer, token: str) -> None:
    with pytest.raises(TokenError):
        verify(issuer, token)


@pytest.mark.parametrize("keys", [b"", b"{}", b"[]", b'{"keys": [{"kty": "RSA"}]}', b'{"keys": 7}'])
def test_keys_that_are_none(issuer: Issuer, keys: bytes) -> None:
    with pytest.raises(TokenError):
        verify_token(issuer.token(), keys, RULES, time.time())
