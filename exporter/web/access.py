"""Who may come in: TLS, client certificates and basic auth from --web.config.file.

The file and the certificates it names are looked at again at each connection and request (a few
stat calls, 10 µs), so that a renewed certificate or a changed password holds at once and no
listener is dropped. What cannot be read leaves the old state in force.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.clock import Clock
from exporter.config.web_file import TlsServerSettings, load_web_file
from exporter.errors import ConfigError, Problem
from exporter.logs import get_logger

# A refused file is tried again although it did not change: a certificate that it names may have
# come meanwhile, and which one that is, a refused file cannot tell.
RETRY_SECONDS = 5.0

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}

log = get_logger()

Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class _InForce:
    tls_context: ssl.SSLContext | None = None
    users: Mapping[str, str] = field(default_factory=dict)  # name to bcrypt hash
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()  # the certificates, keys and CAs it was built from


class Access:
    """The web file in force; without a path, everybody may come in over plain HTTP."""

    def __init__(self, *, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._in_force = _InForce()
        self._stamp: Stamp = ()
        self._refused_at_seconds: float | None = None
        self._refusal = ""

    def open(self) -> None:
        """Read the file for the first time. Raises ConfigError with every problem."""
        if self._path is not None:
            self._stamp = self._present_stamp()
            self._in_force = _load(self._path)

    def tls_context(self) -> ssl.SSLContext | None:
        """Return what a new connection is to be greeted with; None for plain HTTP."""
        return self._current().tls_context

    def users(self) -> Mapping[str, str]:
        """Return who may come in, by name with bcrypt hash; empty when everybody may."""
        return self._current().users

    def headers(self) -> Mapping[str, str]:
        """Return the headers that the file wants on every answer."""
        return self._current().headers

    @property
    def knows_its_clients(self) -> bool:
        """Whether everybody who gets in had to show a password or a certificate."""
        current = self._current()
        context = current.tls_context
        return bool(current.users) or (context is not None and context.verify_mode == ssl.CERT_REQUIRED)

    def _current(self) -> _InForce:
        if self._path is not None:
            stamp = self._present_stamp()
            if stamp != self._stamp or self._is_due_again():
                self._stamp = stamp
                self._reload(self._path)
        return self._in_force

    def _reload(self, path: Path) -> None:
        try:
            self._in_force = _load(path)
        except ConfigError as error:
            self._refused_at_seconds = self._clock.monotonic()
            if str(error) != self._refusal:
                self._refusal = str(error)
                # the text says what to write; a trace would say it to nobody
                log.error("web_file.refused", file=str(path), error=self._refusal)
        else:
            self._refused_at_seconds, self._refusal = None, ""
            log.info("web_file.reloaded", file=str(path))

    def _is_due_again(self) -> bool:
        refused_at_seconds = self._refused_at_seconds
        return refused_at_seconds is not None and self._clock.monotonic() - refused_at_seconds > RETRY_SECONDS

    def _present_stamp(self) -> Stamp:
        """Return what tells that a file changed: a renamed-in file too, as Kubernetes does it."""
        assert self._path is not None
        return tuple(_stat(file) for file in (self._path, *self._in_force.files))


def _stat(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _load(path: Path) -> _InForce:
    """Return what the file says, certificates loaded. Raises ConfigError."""
    web_file = load_web_file(path)
    tls = web_file.tls
    return _InForce(
        tls_context=_tls_context(path, tls) if tls is not None else None,
        users={name: secret.reveal() for name, secret in web_file.basic_auth_users.items()},
        headers=web_file.http.headers,
        files=tuple(file for file in (tls.cert_file, tls.key_file, tls.client_ca_file) if file)
        if tls
        else (),
    )


def _tls_context(path: Path, tls: TlsServerSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _VERSIONS[tls.min_version]
    context.maximum_version = _VERSIONS[tls.max_version]
    context.set_alpn_protocols(["http/1.1"])
    context.verify_mode = _CLIENT_AUTH[tls.client_auth_type]
    try:
        # Without a password of our own, OpenSSL would ask on the terminal for that of an encrypted key.
        context.load_cert_chain(tls.cert_file, tls.key_file, password="")
    except (OSError, ValueError) as error:
        raise _refused(path, "cert_file", f"cannot be used with its key_file: {_reason(error)}") from error
    if tls.client_ca_file is not None:
        try:
            context.load_verify_locations(tls.client_ca_file)
        except (OSError, ValueError) as error:
            raise _refused(path, "client_ca_file", f"cannot be used: {_reason(error)}") from error
    return context


def _refused(path: Path, key: str, message: str) -> ConfigError:
    return ConfigError(
        [Problem(str(path), None, f"tls_server_config.{key}", f"{message}; write a PEM file that fits")]
    )


def _reason(error: Exception) -> str:
    """Return OpenSSL's word for it, or the system's."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM data in it").replace("_", " ").lower()
    return getattr(error, "strerror", None) or type(error).__name__
