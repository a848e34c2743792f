"""What must hold between several keys of a cluster, and between clusters.

The checks read the tree as written, before the models: one wrong value elsewhere must not
hide what is wrong here. They skip what has the wrong type; the models refuse that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from exporter.config.addresses import authority_of, host_of, is_ip_address, is_loopback, normal_url
from exporter.config.alerting_checks import problems_of_alerting, warnings_of_alerting
from exporter.config.clusters import ClusterSettings, TlsSettings
from exporter.config.job_checks import problems_of_jobs, warnings_of_jobs
from exporter.config.problems import KeyPath
from exporter.config.settings import Settings

Finding = tuple[KeyPath, str]


def problems_between(tree: dict[str, Any]) -> Iterator[Finding]:
    """Yield path and advice of everything that no single key shows."""
    yield from _problems_of_clusters(tree)
    yield from problems_of_alerting(tree)
    yield from problems_of_jobs(tree)


def _problems_of_clusters(tree: dict[str, Any]) -> Iterator[Finding]:
    clusters = [
        (("clusters", index), cluster)
        for index, cluster in enumerate(_items(tree, "clusters"))
        if isinstance(cluster, dict)
    ]
    yield from _repeated_names(clusters)
    yield from _repeated_urls(clusters)
    for path, cluster in clusters:
        yield from _repeated_labels(path, cluster)
        yield from _nothing_to_watch(path, cluster)
        yield from _addresses_in_dns(path, cluster)
        if cluster.get("api_key") is not None and cluster.get("bearer_token") is not None:
            yield (
                (*path, "bearer_token"),
                "api_key and bearer_token are both written; Qdrant reads one of them, remove the other",
            )


def _items(mapping: dict[str, Any], key: str) -> list[Any]:
    value = mapping.get(key)
    return value if isinstance(value, list) else []


def _peers(path: KeyPath, cluster: dict[str, Any]) -> Iterator[tuple[KeyPath, str, object]]:
    """Yield path, normal URL and name as written of each peer whose URL is one."""
    for index, peer in enumerate(_items(cluster, "peers")):
        url = peer.get("url") if isinstance(peer, dict) else peer
        try:
            normal = normal_url(url) if isinstance(url, str) else None
        except ValueError:
            continue
        if normal is not None:
            yield (*path, "peers", index), normal, peer.get("name") if isinstance(peer, dict) else None


def _repeated_names(clusters: Sequence[tuple[KeyPath, dict[str, Any]]]) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, cluster in clusters:
        name = cluster.get("name")
        if name is None:
            name = "default"
        if not isinstance(name, str):
            continue
        if name in seen:
            yield (
                (*path, "name"),
                "another cluster has this name already; write a name of its own for each"
                ' (without one it is "default")',
            )
        seen.add(name)


def _repeated_urls(clusters: Sequence[tuple[KeyPath, dict[str, Any]]]) -> Iterator[Finding]:
    first: dict[str, KeyPath] = {}
    for path, cluster in clusters:
        for peer_path, url, _ in _peers(path, cluster):
            if url in first:
                place = ".".join(map(str, first[url]))
                yield peer_path, f"{place} has this URL already; a peer is watched once, remove one of them"
            first.setdefault(url, peer_path)


def _repeated_labels(path: KeyPath, cluster: dict[str, Any]) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for peer_path, url, name in _peers(path, cluster):
        label = name if isinstance(name, str) and name else authority_of(url)
        if label in seen and seen[label] != url:
            yield (
                peer_path,
                "another peer of this cluster has this name, or the same host and port; write a name:",
            )
        seen.setdefault(label, url)


def _nothing_to_watch(path: KeyPath, cluster: dict[str, Any]) -> Iterator[Finding]:
    if cluster.get("peers") in (None, []) and cluster.get("dns") in (None, []):
        yield path, "the cluster has no peer; write peers: with a URL, or dns: with one that names them all"


def _addresses_in_dns(path: KeyPath, cluster: dict[str, Any]) -> Iterator[Finding]:
    for index, url in enumerate(_items(cluster, "dns")):
        try:
            is_address = isinstance(url, str) and is_ip_address(host_of(normal_url(url)))
        except ValueError:
            continue
        if is_address:
            yield (*path, "dns", index), "an address resolves to nothing else; write it under peers:"


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """Return what works but should not stay so, each with its path, for `check` and the log."""
    of_clusters = (
        f"clusters.{index}.{text}"
        for index, cluster in enumerate(settings.clusters)
        for text in _warnings_of_cluster(cluster)
    )
    of_jobs = warnings_of_jobs(settings.backup, settings.jobs, keeps_state=settings.state.dir is not None)
    return (*of_clusters, *warnings_of_alerting(settings.alerting), *of_jobs)


def _warnings_of_cluster(cluster: ClusterSettings) -> Iterator[str]:
    urls = (*(peer.url for peer in cluster.peers), *cluster.dns)
    secrets = {
        "api_key": cluster.api_key,
        "bearer_token": cluster.bearer_token,
        "probes.canary.api_key": cluster.probes.canary.api_key,
        "jobs.api_key": cluster.jobs.api_key,
    }
    insecure = cluster.tls.insecure_skip_verify
    for key in (name for name, secret in secrets.items() if secret is not None):
        for url in urls:
            if url.startswith("http://") and not is_loopback(host_of(url)):
                yield f"{key}: goes over plain http to {authority_of(url)}, readable on the way; use https"
        if insecure:
            reader = f"whoever stands between can read the {key}"
            yield f"tls.insecure_skip_verify: {reader}; write ca_file instead"
    if cluster.probes.canary.enabled and not cluster.probes.enabled:
        yield "probes.canary.enabled: has no effect, because probes.enabled is false"
    tls_is_set = cluster.tls != TlsSettings()
    if tls_is_set and not any(url.startswith("https://") for url in urls):
        yield "tls: has no effect, because no URL of this cluster starts with https"
