"""The file of --web.config.file: TLS and basic auth in the format of Prometheus's exporter-toolkit.

What the format has and Python's TLS cannot do is refused by name, never ignored: a person
who asks for a check must not believe in one that is not there. Texts are taken as they
stand, without ${…}, because bcrypt hashes are full of dollars.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from exporter.config.document import read_document
from exporter.config.fields import ExistingFile, Section
from exporter.config.problems import WRITE_KEYS, explained
from exporter.config.secret import Secret
from exporter.config.written import Written
from exporter.errors import ConfigError

_BCRYPT_HASH = re.compile(r"\$2[abxy]?\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")

# What exporter-toolkit lets a file set, and no other header.
_HEADERS = (
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
)

TlsVersion = Literal["TLS12", "TLS13"]
ClientAuthType = Literal["NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"]


def _version(value: Any) -> Any:
    if value in ("TLS10", "TLS11"):
        raise ValueError("TLS 1.0 and 1.1 are broken and not spoken here; write TLS12 or TLS13")
    return value


def _client_auth_type(value: Any) -> Any:
    if value in ("RequestClientCert", "RequireAnyClientCert"):
        raise ValueError(
            "Python's TLS cannot ask for a certificate without checking it;"
            " write VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        )
    return value


def _bcrypt_hash(value: Any) -> Any:
    if not isinstance(value, str) or not _BCRYPT_HASH.fullmatch(value):
        raise ValueError("write the bcrypt hash of the password, as `htpasswd -nBC 10 USER` prints it")
    return value


def _user(name: str) -> str:
    if not name or ":" in name:
        raise ValueError("a user's name is not empty and has no colon")
    return name


def _header(name: str) -> str:
    if name not in _HEADERS:
        raise ValueError(f"only these headers can be set: {', '.join(_HEADERS)}")
    return name


def _header_value(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("a header is one line of visible ASCII characters")
    return text


class TlsServerSettings(Section):
    """How we serve https. Files are named relative to the web file."""

    refused_keys: ClassVar[Mapping[str, str]] = {
        "cert": "inline certificates are not supported; write it to a file and name that in cert_file",
        "key": "inline keys are not supported; write it to a file and name that in key_file",
        "client_ca": "inline certificates are not supported; write it to a file, see client_ca_file",
        "client_allowed_sans": "not supported here; let a CA of its own sign those clients",
        "cipher_suites": "not supported here; remove it, OpenSSL chooses",
        "prefer_server_cipher_suites": "not supported here; remove it, the server's order always wins",
        "curve_preferences": "not supported here; remove it, OpenSSL chooses",
    }

    cert_file: ExistingFile
    key_file: ExistingFile
    client_ca_file: ExistingFile | None = None
    client_auth_type: Annotated[ClientAuthType, BeforeValidator(_client_auth_type)] = "NoClientCert"
    min_version: Annotated[TlsVersion, BeforeValidator(_version)] = "TLS12"
    max_version: Annotated[TlsVersion, BeforeValidator(_version)] = "TLS13"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.min_version > self.max_version:
            raise ValueError("min_version is above max_version")
        if self.client_auth_type == "NoClientCert" and self.client_ca_file is not None:
            raise ValueError(
                "client_ca_file has no effect alone; write client_auth_type: RequireAndVerifyClientCert"
            )
        if self.client_auth_type != "NoClientCert" and self.client_ca_file is None:
            raise ValueError("client_auth_type needs client_ca_file: the CA that signed the clients")
        return self


class HttpServerSettings(Section):
    """Headers that go with every answer."""

    http2: bool = True  # accepted because files have it: clients agree on HTTP/1.1 with us
    headers: Mapping[
        Annotated[str, AfterValidator(_header)], Annotated[str, AfterValidator(_header_value)]
    ] = {}


class WebFile(Section):
    """What the file says. Password hashes show as `<secret>`."""

    refused_keys: ClassVar[Mapping[str, str]] = {
        "rate_limit": "not supported here; remove it, or limit requests in a proxy",
    }

    tls: TlsServerSettings | None = Field(
        default=None, validation_alias="tls_server_config", serialization_alias="tls_server_config"
    )
    http: HttpServerSettings = Field(
        default=HttpServerSettings(),
        validation_alias="http_server_config",
        serialization_alias="http_server_config",
    )
    basic_auth_users: Mapping[
        Annotated[str, AfterValidator(_user)], Annotated[Secret, BeforeValidator(_bcrypt_hash)]
    ] = {}


def load_web_file(path: Path) -> WebFile:
    """Return what the file says; an empty file asks for neither TLS nor users.

    Reads no certificate, but sees that their files exist. Raises ConfigError with every problem.
    """
    document = read_document(path)
    tree = {} if document.tree is None else document.tree
    web_file: WebFile | None = None
    if not isinstance(tree, dict):
        document.problems.add((), WRITE_KEYS)
    elif not document.broken:
        try:
            written = Written(path.absolute().parent)
            web_file = WebFile.model_validate(tree, context=written, by_alias=True, by_name=False)
        except ValidationError as error:
            for place, message in explained(error, WebFile):
                document.problems.add_consequence(place, message)
    told = document.problems.told()
    if web_file is None or told:
        raise ConfigError(told)
    return web_file
