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


def forged(issuer: Issuer, header: dict[str, Any], payload: bytes | None = None) -> str:
    """Signed by the issuer's own key, whatever the header and the payload say."""
    from joserfc._rfc7518.jws_algs import JWS_ALGORITHMS

    [rs256] = [a for a in JWS_ALGORITHMS if a.name == "RS256"]
    head, body = json.dumps(header).encode(), payload or b64(issuer.token().split(".")[1])
    signed = f"{piece(head)}.{piece(body)}"
    return f"{signed}.{piece(rs256.sign(signed.encode(), issuer.rsa))}"


def piece(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def b64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RS256", "kid": "../../etc/passwd"},
        {"alg": "RS256", "kid": ["rsa"]},
        {"alg": "RS256", "kid": "ec"},
        {"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1},
        {"alg": "RS256", "kid": "rsa", "crit": ["unknown"], "unknown": 1},
        {"alg": "rs256", "kid": "rsa"},
        {"alg": "None", "kid": "rsa"},
        {"alg": "HS256", "kid": "rsa"},
        {"kid": "rsa"},
    ],
    ids=str,
)
def test_headers_that_are_not_accepted(issuer: Issuer, header: dict[str, Any]) -> None:
    assert verify(issuer, forged(issuer, {"alg": "RS256", "kid": "rsa"})).subject
    with pytest.raises(TokenError):
        verify(issuer, forged(issuer, header))


@pytest.mark.parametrize("exp", ["1e999", "NaN", "-Infinity", "true", "[1]", "1" + "0" * 400])
def test_times_that_are_none(issuer: Issuer, exp: str) -> None:
    payload = b64(issuer.token(exp=77777).split(".")[1]).replace(b"77777", exp.encode())
    with pytest.raises(TokenError):
        verify(issuer, forged(issuer, {"alg": "RS256", "kid": "rsa"}, payload))


def test_a_token_of_ten_megabytes(issuer: Issuer) -> None:
    with pytest.raises(TokenError, match="too long"):
        verify(issuer, "x" * (10 << 20))
