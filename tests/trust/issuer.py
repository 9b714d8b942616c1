"""An identity provider: keys of its own, and tokens for whomever one likes."""

import base64
import hmac
import json
import time
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

from ramnet.trust.session import Rules

ISSUER, AUDIENCE = "https://login.acme.example", "ramnet"
RULES = Rules(ISSUER, AUDIENCE, ["RS256", "ES256"], "organizations", "groups")


class Issuer:
    """Signs with RS256, or with whatever a test asks for."""

    def __init__(self) -> None:
        self.rsa = RSAKey.generate_key(2048, {"kid": "rsa"})
        self.ec = ECKey.generate_key("P-256", {"kid": "ec"})
        keys = [self.rsa.as_dict(private=False), self.ec.as_dict(private=False)]
        self.jwks = msgspec.json.encode({"keys": keys})

    def key_set(self) -> KeySet:
        return KeySet([self.rsa, self.ec])

    def token(self, header: dict[str, Any] | None = None, key: Any = None, **claims: Any) -> str:
        now = int(time.time())
        told = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": "dev@acme.example", "iat": now,
            "exp": now + 3600, "organizations": ["acme"], "groups": ["dev"],
        } | claims  # fmt: skip
        told = {name: value for name, value in told.items() if value is not None}
        head = header or {"alg": "RS256", "kid": "rsa"}
        return jwt.encode(head, told, key or self.rsa, algorithms=[head["alg"]])

    def confused(self) -> str:
        """HMAC with the public key, in PEM, as the shared secret."""
        head = _piece(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
        signed = f"{head}.{self.token().split('.')[1]}"
        secret = self.rsa.as_pem(private=False)
        return f"{signed}.{_piece(hmac.digest(secret, signed.encode(), 'sha256'))}"


def _piece(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
