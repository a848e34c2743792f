"""From the uri that /cluster lists for a peer to URL and label. Pure text work.

The listed uri is that of the traffic between peers: its host counts, its port does not.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from exporter.config.addresses import authority_of, host_of, normal_url
from exporter.config.clusters import ClusterSettings


def listed_host(uri: str) -> str | None:
    """Return the host of a listed uri without brackets; None when it names none."""
    try:
        return urlsplit(uri).hostname or None
    except ValueError:
        return None


def port_of(url: str) -> str:
    """Return the port of a URL from the configuration, which always has one."""
    return authority_of(url).rpartition(":")[2]


def label_at(uri: str | None, port: str, *, peer_id: int) -> str:
    """Return the label of a peer by its listed uri, else by its id."""
    host = listed_host(uri) if uri is not None else None
    return f"{_bracketed(host)}:{port}" if host is not None else f"id:{peer_id}"


def given_urls(settings: ClusterSettings) -> tuple[str, ...]:
    """Return the URLs a person wrote for this cluster."""
    return (*(peer.url for peer in settings.peers), *settings.dns)


def urls_for(uri: str, peer_id: int, settings: ClusterSettings) -> tuple[str, ...]:
    """Return where a listed peer may answer: by the template, else on each given scheme and port."""
    host = listed_host(uri)
    if host is None:
        return ()
    template = settings.discovery.url_template
    if template is not None:
        patterns = [template]
    else:
        patterns = [f"{urlsplit(url).scheme}://{{host}}:{port_of(url)}" for url in given_urls(settings)]
    found = dict.fromkeys(_filled(pattern, _bracketed(host), peer_id) for pattern in patterns)
    return tuple(url for url in found if url is not None)


def _filled(pattern: str, host: str, peer_id: int) -> str | None:
    # The uri is what a server said: a host that no URL can have makes no candidate.
    try:
        return normal_url(pattern.replace("{host}", host).replace("{peer_id}", str(peer_id)))
    except ValueError:
        return None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def dns_name(url: str) -> tuple[str, int]:
    """Return host and port to look up for a URL under `dns:`."""
    return host_of(url), int(port_of(url))
