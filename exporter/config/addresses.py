"""URLs of Qdrant peers and addresses to listen on: what is allowed, and their one spelling."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

# Qdrant's own REST port, and what its Python client assumes for http and https alike.
# A peer behind an ingress on 443 is written with ":443".
QDRANT_PORT = 6333

WRITE_A_URL = "write a URL such as http://qdrant-0:6333"
WRITE_AN_ADDRESS = 'write an address to listen on such as ":10633", "127.0.0.1:10633" or "[::1]:10633"'

# What discovery may fill in: the host that /cluster lists for a peer, and that peer's id.
TEMPLATE_FIELDS = ("{host}", "{peer_id}")

# Letters, digits, dot, hyphen, and the underscore that Compose service names have.
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")


class ListenAddress(NamedTuple):
    """Where to listen. An empty host means every interface."""

    host: str
    port: int


def normal_url(text: str, *, default_port: int | None = QDRANT_PORT) -> str:
    """Return scheme://host:port/prefix in one spelling, without a slash at the end.

    Without a port, `default_port` is added; None leaves it out. Raises ValueError saying what
    to write. No message repeats the URL, because a wrong one may hold a password.
    """
    parts, port = _split(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("a user or password does not belong in a URL; write api_key: instead")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError(f"a URL here has no ? and no #; {WRITE_A_URL}")
    if not _PATH.fullmatch(parts.path):
        raise ValueError(f"the path of the URL has characters that need %-encoding; {WRITE_A_URL}")
    host = _host(parts.hostname or "")
    shown = port if port is not None else default_port
    authority = host if shown is None else f"{host}:{shown}"
    return f"{parts.scheme}://{authority}{parts.path.rstrip('/')}"


def _split(text: str) -> tuple[SplitResult, int | None]:
    if any(character <= " " for character in text):
        raise ValueError(f"a URL has no spaces and no line breaks; {WRITE_A_URL}")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(f"this is not a URL; {WRITE_A_URL}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the scheme must be http:// or https://; {WRITE_A_URL}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("the port of a URL is a number from 1 to 65535")
    return parts, port


def _host(host: str) -> str:
    if not host:
        raise ValueError(f"the URL names no host; {WRITE_A_URL}")
    if ":" in host:
        try:
            return f"[{ipaddress.IPv6Address(host)}]"
        except ValueError:
            raise ValueError("the host in brackets is not an IPv6 address") from None
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("the host of the URL has characters that no host name has")
    return host


def host_of(url: str) -> str:
    """Return the host of a URL that `normal_url` has passed, without brackets."""
    return urlsplit(url).hostname or ""


def authority_of(url: str) -> str:
    """Return host:port of a URL that `normal_url` has passed, as METRICS labels a peer."""
    return urlsplit(url).netloc


def is_ip_address(host: str) -> bool:
    """The host is an address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """The text is an address or can be the name of a host."""
    return is_ip_address(text) or _HOST_NAME.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """What is sent to this host does not leave the machine."""
    if is_ip_address(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def checked_template(text: str) -> str:
    """Return a URL template for discovered peers as written, when it makes URLs.

    Raises ValueError saying what to write.
    """
    if not any(field in text for field in TEMPLATE_FIELDS):
        raise ValueError("write a URL with {host} or {peer_id} in it, for example https://{host}:6333")
    filled = text.replace("{host}", "qdrant-0").replace("{peer_id}", "1")
    if "{" in filled or "}" in filled:
        raise ValueError("only {host} and {peer_id} can stand in braces")
    normal_url(filled)
    return text


def split_listen_address(text: str) -> ListenAddress:
    """Return host and port of ":10633", "0.0.0.0:10633" or "[::1]:10633".

    Port 0 lets the system choose one. Raises ValueError saying what to write.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65_535:
        raise ValueError(WRITE_AN_ADDRESS)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not is_ip_address(host) or ":" not in host:
            raise ValueError(WRITE_AN_ADDRESS)
    elif host and not _HOST_NAME.fullmatch(host):
        raise ValueError(WRITE_AN_ADDRESS)
    return ListenAddress(host, int(port))
