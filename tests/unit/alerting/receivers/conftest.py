"""What tests of receivers need once."""

from __future__ import annotations

import ssl
import warnings

import pytest
import trustme


@pytest.fixture(scope="session", autouse=True)
def _apprise_is_loaded() -> None:
    """Load apprise's plugins before the first deadline runs; they import what Python calls deprecated."""
    import apprise

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        apprise.Apprise().add("json://127.0.0.1")


@pytest.fixture
def tls_of_nobody() -> ssl.SSLContext:
    """A server's TLS by an authority that no machine trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context
