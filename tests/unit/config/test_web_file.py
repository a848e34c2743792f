"""The web configuration file in exporter-toolkit's format."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.config.secret import Secret
from exporter.config.web_file import TlsServerSettings, WebFile, load_web_file
from exporter.errors import ConfigError

HASH = "$2y$10$" + "a" * 53
TLS = "tls_server_config:\n  cert_file: c\n  key_file: k\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with a certificate, a key and a CA, all empty."""
    for name in ("c", "k", "ca"):
        (tmp_path / name).touch()
    return tmp_path


def _read(directory: Path, text: str) -> WebFile:
    (directory / "web.yaml").write_text(text)
    return load_web_file(directory / "web.yaml")


def _problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        _read(directory, text)
    return [str(problem).replace(f"{directory}/", "") for problem in caught.value.problems]


def test_a_whole_file_is_read(directory: Path) -> None:
    """Paths start at the file's directory; hashes stay as they are, dollars and all."""
    web_file = _read(
        directory,
        TLS
        + "  client_ca_file: ca\n  client_auth_type: RequireAndVerifyClientCert\n  min_version: TLS13\n"
        + "http_server_config:\n  http2: false\n  headers: {X-Frame-Options: deny}\n"
        + f"basic_auth_users:\n  alice: {HASH}\n",
    )

    assert web_file.tls == TlsServerSettings(
        cert_file=directory / "c",
        key_file=directory / "k",
        client_ca_file=directory / "ca",
        client_auth_type="RequireAndVerifyClientCert",
        min_version="TLS13",
    )
    assert web_file.http.headers == {"X-Frame-Options": "deny"}
    assert web_file.basic_auth_users == {"alice": Secret(HASH)}


@pytest.mark.parametrize("text", ["", "tls_server_config:\n", "# nothing\n", "{}"])
def test_an_empty_file_asks_for_nothing(directory: Path, text: str) -> None:
    """It may be mounted before anybody fills it."""
    assert _read(directory, text) == WebFile()


def test_tls_has_safe_defaults(directory: Path) -> None:
    """TLS 1.2 at least, and no certificate asked of clients."""
    tls = _read(directory, TLS).tls

    assert tls is not None
    assert (tls.min_version, tls.max_version, tls.client_auth_type) == ("TLS12", "TLS13", "NoClientCert")


def test_a_password_hash_is_never_shown(directory: Path) -> None:
    """It can be attacked offline."""
    web_file = _read(directory, f"basic_auth_users: {{alice: {HASH}}}")

    assert HASH not in repr(web_file) + str(web_file.model_dump()) + web_file.model_dump_json()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a", ["web.yaml: write keys and values here, one `key: value` a line"]),
        ("tls_config: {}", ["web.yaml:1: tls_config: there is no such key; did you mean tls_server_config?"]),
        (
            "tls_server_config: {cert_file: c}",
            ["web.yaml:1: tls_server_config.key_file: is missing and must be written"],
        ),
        (
            "tls_server_config:\n  cert_file: gone\n  key_file: k",
            ["web.yaml:2: tls_server_config.cert_file: there is no file gone that we may see"],
        ),
        (
            TLS + "  cipher_suites: [x]\n  client_allowed_sans: [y]",
            [
                "web.yaml:4: tls_server_config.cipher_suites: not supported here; remove it, OpenSSL chooses",
                "web.yaml:5: tls_server_config.client_allowed_sans:"
                " not supported here; let a CA of its own sign those clients",
            ],
        ),
        (
            TLS + "  client_auth_type: RequireAnyClientCert",
            [
                "web.yaml:4: tls_server_config.client_auth_type: Python's TLS cannot ask for a certificate"
                " without checking it; write VerifyClientCertIfGiven or RequireAndVerifyClientCert"
            ],
        ),
        (
            TLS + "  client_auth_type: Never",
            [
                "web.yaml:4: tls_server_config.client_auth_type: write one of 'NoClientCert',"
                " 'VerifyClientCertIfGiven' or 'RequireAndVerifyClientCert'"
            ],
        ),
        (
            TLS + "  client_auth_type: VerifyClientCertIfGiven",
            [
                "web.yaml:1: tls_server_config: client_auth_type needs client_ca_file:"
                " the CA that signed the clients"
            ],
        ),
        (
            TLS + "  client_ca_file: ca",
            [
                "web.yaml:1: tls_server_config: client_ca_file has no effect alone;"
                " write client_auth_type: RequireAndVerifyClientCert"
            ],
        ),
        (
            TLS + "  min_version: TLS10",
            [
                "web.yaml:4: tls_server_config.min_version: TLS 1.0 and 1.1 are broken and not spoken here;"
                " write TLS12 or TLS13"
            ],
        ),
        (
            TLS + "  min_version: TLS13\n  max_version: TLS12",
            ["web.yaml:1: tls_server_config: min_version is above max_version"],
        ),
        (
            "http_server_config: {headers: {X-Powered-By: us}}",
            [
                "web.yaml:1: http_server_config.headers.X-Powered-By: only these headers can be set:"
                " Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options,"
                " X-Frame-Options, X-XSS-Protection"
            ],
        ),
        (
            'http_server_config: {headers: {X-Frame-Options: "a\\r\\nSet-Cookie: b"}}',
            [
                "web.yaml:1: http_server_config.headers.X-Frame-Options:"
                " a header is one line of visible ASCII characters"
            ],
        ),
        (
            "rate_limit: {burst: 1}",
            ["web.yaml:1: rate_limit: not supported here; remove it, or limit requests in a proxy"],
        ),
        (
            "basic_auth_users:\n  alice: hunter2\n  'a:b': " + HASH,
            [
                "web.yaml:2: basic_auth_users.alice: write the bcrypt hash of the password,"
                " as `htpasswd -nBC 10 USER` prints it",
                "web.yaml:3: basic_auth_users.a:b: a user's name is not empty and has no colon",
            ],
        ),
        (
            f"basic_auth_users:\n  alice: {HASH}\n  alice: {HASH}",
            ["web.yaml:3: basic_auth_users.alice: this key is written twice, first in line 2; remove one"],
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(directory: Path, text: str, expected: list[str]) -> None:
    """A check that is asked for and silently not made would be worse than none."""
    assert _problems(directory, text) == expected


def test_a_missing_file_is_a_problem_that_names_it(directory: Path) -> None:
    """The file may go while the daemon runs; the web room then keeps what it had."""
    with pytest.raises(ConfigError, match=r"gone\.yaml: the file cannot be read: No such file or directory"):
        load_web_file(directory / "gone.yaml")
