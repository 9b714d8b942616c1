"""The authority that this machine makes at each boot, and the certificates of refused names.

``cryptography`` is imported where it is used: it costs 80 ms that most gates never pay.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

# The clock may be wrong at boot, so validity says nothing; the key lives until the next boot.
_NOT_BEFORE: Final = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_NOT_AFTER: Final = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)
_MAX_COMMON_NAME: Final = 64
"""RFC 5280, appendix A: ub-common-name."""


def create_authority(organization: str) -> tuple[bytes, bytes]:
    """A new authority: certificate and unencrypted key, PEM (EC P-256).

    ``organization`` tells a person who looks at the certificate whose decision it carries.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{organization} (ramnet refusals on this machine)")
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, _sha256())
    )
    return certificate.public_bytes(Encoding.PEM), _key_pem(key)


class Issuer:
    """Signs for refused names with one authority; all leaves share one key of this process."""

    def __init__(self, certificate_pem: bytes, key_pem: bytes) -> None:
        """Raises ValueError where the PEM cannot be used."""
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an EC key")
        self._key = key
        self._certificate = x509.load_pem_x509_certificate(certificate_pem)
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())

    def issue(self, name: str) -> bytes:
        """Certificate and key for the A-label ``name``, PEM."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        authority = self._certificate
        leaf = (
            _builder(_name("refused by ramnet"), authority.subject, self._leaf_key, self._key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
            )
            .sign(self._key, _sha256())
        )
        return leaf.public_bytes(Encoding.PEM) + _key_pem(self._leaf_key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    signer: EllipticCurvePrivateKey | None = None,
) -> x509.CertificateBuilder:
    from cryptography import x509

    signed_by = x509.AuthorityKeyIdentifier.from_issuer_public_key((signer or key).public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(signed_by, critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    from cryptography import x509

    text = common_name[:_MAX_COMMON_NAME]
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])


def _sha256() -> hashes.SHA256:
    from cryptography.hazmat.primitives import hashes

    return hashes.SHA256()


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
