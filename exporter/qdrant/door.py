"""How to reach one peer: its URL, its secrets, its TLS. Nothing here connects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from yarl import URL

from exporter.logs import spellings_of

# What may stand in a request line: printable ASCII without "#". Anything else is a name that was
# not quoted, and a newline among it would be a second request.
_PATH = re.compile(r"/[!-\"$-~]*")
_HEADER_VALUE = re.compile(r"[!-~]+")


def quote_segment(name: str) -> str:
    """Return `name` as one segment of a path, percent-encoded once.

    The server decodes it once: a name that holds `%41`, a newline or a slash comes
    through whole. Names of dots alone are encoded too, else they would mean a parent.
    """
    if name in {".", ".."}:
        return "%2E" * len(name)
    return quote(name, safe="")


@dataclass(frozen=True, slots=True)
class Tls:
    """The TLS of one door. Without `ca_file` the system's authorities are trusted."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None  # None: the key is in `cert_file`
    server_name: str | None = None  # sent and verified instead of the URL's host
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Door:
    """How to reach one peer.

    `url` is scheme://host:port[/prefix]. `address` is the numeric IP to connect to instead
    of asking for the host's; the Host header and the TLS server name stay those of the URL.
    Raises ValueError, without the value, where one of them cannot be used.
    """

    url: str
    address: str | None = None
    api_key: str | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    tls: Tls = Tls()

    def __post_init__(self) -> None:
        """Refuse what would fail, or leak, at the first call."""
        url = _parsed(self.url)
        if url is None or url.scheme not in {"http", "https"} or not url.raw_host:
            raise ValueError("url: write http://host:port or https://host:port")
        if url.raw_user is not None or url.raw_password is not None:
            raise ValueError("url: holds a user or a password; give a key as api_key or bearer_token")
        if url.raw_query_string or url.raw_fragment:
            raise ValueError("url: must not hold a query or a fragment")
        for name, secret in (("api_key", self.api_key), ("bearer_token", self.bearer_token)):
            if secret is not None and not _HEADER_VALUE.fullmatch(secret):
                raise ValueError(
                    f"{name}: is empty or holds what an HTTP header cannot (a newline, a space?)"
                )

    @property
    def encrypted(self) -> bool:
        """Whether this door speaks TLS."""
        return self.url.startswith("https:")

    @property
    def host(self) -> str:
        """The host as the URL names it."""
        return URL(self.url).raw_host or ""

    @property
    def server_name(self) -> str:
        """The name that the server's certificate must bear."""
        return self.tls.server_name or self.host

    def target(self, path: str) -> URL:
        """Return what to connect to and ask for; `path` starts with / and is already encoded.

        Raises ValueError where it is not: that is a mistake in this program.
        """
        if not _PATH.fullmatch(path):
            raise ValueError("a path must start with / and be percent-encoded: see quote_segment")
        url = URL(self.url)
        if self.address is not None:
            url = url.with_host(self.address)
        return URL(f"{url.origin()}{url.raw_path.rstrip('/')}{path}", encoded=True)

    def headers(self) -> Mapping[str, str]:
        """Return the headers of every request, secrets included: not for logs."""
        headers = {
            "Host": URL(self.url).host_port_subcomponent or "",
            "User-Agent": "qdrant-exporter",
            # The server compresses whenever it may. That is its CPU, which we are to spare,
            # for bytes on a private network; and it hides the length of the answer.
            "Accept-Encoding": "identity",
        }
        if self.api_key is not None:
            headers["api-key"] = self.api_key
        if self.bearer_token is not None:
            headers["Authorization"] = f"Bearer {self.bearer_token}"
        return headers

    def without_secrets(self, text: str) -> str:
        """Return `text` with this door's secrets blotted out, however a server or a proxy echoes them."""
        for secret in filter(None, (self.api_key, self.bearer_token)):
            for spelling in sorted(spellings_of(secret), key=len, reverse=True):
                # in any case: a host name, for one, is read in lower case
                text = re.sub(re.escape(spelling), "***", text, flags=re.IGNORECASE)
        return text


def _parsed(text: str) -> URL | None:
    """Return the URL, None where it is none: yarl's error would repeat a part of it."""
    try:
        return URL(text)
    except ValueError:
        return None
