"""What the tests of the drivers share."""

from __future__ import annotations

import ssl

import pytest
import trustme

from tests.streams.ends import Contexts


@pytest.fixture(scope="session")
def contexts() -> Contexts:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client
