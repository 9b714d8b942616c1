"""One certificate authority for every server of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import trustme

from tests.lab.host import Host

_LOCAL_CERTIFICATE = "/usr/local/share/ca-certificates/ramnet-lab.crt"
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"


class KeyPair(NamedTuple):
    """Paths of a certificate chain and its key, both PEM."""

    certificate: Path
    key: Path


class Authority:
    """Issues server certificates and is trusted by hosts that are told to."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._authority = trustme.CA(organization_name="ramnet lab")
        #: The authority's own certificate, PEM.
        self.pem = self._authority.cert_pem.bytes().decode()
        self.path = directory / "ca.pem"
        self.path.write_text(self.pem)

    def issue(self, *names: str) -> KeyPair:
        """Issue a certificate for DNS names or addresses; the first one names the files."""
        pair = KeyPair(self._directory / f"{names[0]}.crt", self._directory / f"{names[0]}.key")
        issued = self._authority.issue_cert(*names)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        pair.certificate.write_bytes(chain)
        pair.key.write_bytes(issued.private_key_pem.bytes())
        return pair

    def trust_on(self, host: Host) -> None:
        """Do what update-ca-certificates(8) would do, without its second of work.

        The certificate also lies where update-ca-certificates finds it, so that a later run of it
        (`ramnet ca install`) keeps it.
        """
        host.write(_LOCAL_CERTIFICATE, self.pem)
        with host.path(_BUNDLE).open("a") as bundle:
            bundle.write(self.pem)
