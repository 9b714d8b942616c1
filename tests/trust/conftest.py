"""One authority for the session, one server and repository for each test."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.trust.server import Server, serving
from tests.trust.site import Site


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA(organization_name="ramnet test")


@pytest.fixture
def server(tmp_path: Path, authority: trustme.CA) -> Iterator[Server]:
    (tmp_path / "site").mkdir()
    with serving(tmp_path / "site", authority) as made:
        yield made


@pytest.fixture
def site(
    tmp_path: Path, server: Server, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> Site:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return Site(tmp_path, server, context)
