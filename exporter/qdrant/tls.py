"""TLS to a peer: the context, read again when its files change, and what to do about each failure."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from exporter.clock import Clock
from exporter.qdrant.door import Door, Tls

# Certificates are renewed days before they expire; a look each half a minute is soon enough, and
# three stat calls at each of thousands of requests are not for free on a network file system.
CHECK_SECONDS = 30.0

# OpenSSL's X509_V_ERR_* numbers, as `SSLCertVerificationError.verify_code` has them.
_ADVICE: Mapping[int, str] = {
    9: "the server's certificate is not valid yet: compare the clocks of both machines",
    10: "the server's certificate has expired: renew it there",
    18: "the server's certificate is self-signed: set tls ca_file to that certificate",
    19: "the server's certificate comes from an unknown authority: set tls ca_file to the authority's",
    20: "the server's certificate comes from an unknown authority: set tls ca_file to the authority's",
    21: "the server's certificate comes from an unknown authority: set tls ca_file to the authority's",
}
_WRONG_NAME = frozenset({62, 64})  # host name, IP address
_NO_CLIENT_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


class TlsFilesError(Exception):
    """The files of a door's TLS cannot be used; the text says which option and why."""


class TlsContext:
    """The context of one door, built at its first use and again when a file of it changed.

    A new context means new connections: those of the old one end by themselves. While
    the changed files cannot be read, half-written as they may be, the old one stays.
    """

    def __init__(self, *, tls: Tls, clock: Clock) -> None:
        self._tls = tls
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._stamps: tuple[int, ...] = ()
        self._checked_at = 0.0
        self._building = asyncio.Lock()

    async def current(self) -> ssl.SSLContext:
        """Return the context in force. Raises TlsFilesError where there never was a good one."""
        now = self._clock.monotonic()
        if self._context is not None and now - self._checked_at < CHECK_SECONDS:
            return self._context
        async with self._building:
            # Off the loop: reading the system's authorities takes some ten milliseconds.
            stamps = await asyncio.to_thread(_stamps, self._tls)
            if self._context is None or stamps != self._stamps:
                try:
                    self._context = await asyncio.to_thread(_build, self._tls)
                    self._stamps = stamps
                except TlsFilesError:
                    if self._context is None:
                        raise
            self._checked_at = now
            return self._context


def _stamps(tls: Tls) -> tuple[int, ...]:
    stamps = []
    for file in (tls.ca_file, tls.cert_file, tls.key_file):
        with suppress(OSError):
            stamps.append(file.stat().st_mtime_ns if file is not None else 0)
    return tuple(stamps)


def _build(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=_text(tls.ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise TlsFilesError(f"tls ca_file cannot be used: {_reason(error)}") from error
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file is not None:
        try:
            # Without a password of ours OpenSSL would ask for one on the terminal.
            context.load_cert_chain(str(tls.cert_file), _text(tls.key_file), password="")
        except (OSError, ValueError) as error:
            raise TlsFilesError(f"tls cert_file and key_file cannot be used: {_reason(error)}") from error
    return context


def _text(file: Path | None) -> str | None:
    return str(file) if file is not None else None


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        known = (getattr(error, "reason", None) or "").lower().replace("_", " ")
        return known or "not PEM, or an encrypted key"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "not PEM, or an encrypted key"


def explain(error: ssl.SSLError, door: Door) -> str:
    """Return what went wrong in a handshake and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _WRONG_NAME:
            return (
                f"the server's certificate is not for {door.server_name!r}: "
                "set tls server_name to a name that it bears"
            )
        return _ADVICE.get(error.verify_code, f"the server's certificate is refused: {error.verify_message}")
    reason = getattr(error, "reason", None) or "unknown reason"  # OpenSSL sets it, Python code may not
    if any(word in reason for word in _NO_CLIENT_CERTIFICATE):
        if door.tls.cert_file is None:
            return "the server asks for a client certificate: set tls cert_file and key_file"
        return "the server refuses our client certificate: check who signed tls cert_file"
    if any(word in reason for word in _NOT_TLS):
        return "the server does not speak TLS on this port: write http:// in its url"
    return f"the TLS handshake failed: {reason.lower().replace('_', ' ')[:100]}"
