"""What must hold between jobs, clusters and the store of backups.

As in `checks.py`, on the tree as written, before the models; what has the wrong type is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from exporter.config.addresses import host_of, is_loopback
from exporter.config.backup import BackupSettings, S3Settings
from exporter.config.jobs import JobSettings
from exporter.config.problems import KeyPath
from exporter.config.store_url import bucket_of

Finding = tuple[KeyPath, str]


def problems_of_jobs(tree: dict[str, Any]) -> Iterator[Finding]:
    """Yield path and advice of everything in `jobs` that no single section shows."""
    jobs = tree.get("jobs")
    written = [
        (("jobs", index), job)
        for index, job in enumerate(jobs if isinstance(jobs, list) else [])
        if isinstance(job, dict)
    ]
    yield from _repeated_names(written)
    if written and not _has_store(tree):
        yield ("jobs",), "jobs need a store of backups; write backup: with store: and its url:"
    clusters = _cluster_names(tree)
    for path, job in written:
        yield from _cluster_of(path, job, clusters)


def _repeated_names(jobs: Sequence[tuple[KeyPath, dict[str, Any]]]) -> Iterator[Finding]:
    seen: set[str] = set()
    for path, job in jobs:
        name = job.get("name")
        if not isinstance(name, str):
            continue
        if name in seen:
            yield (*path, "name"), "another job has this name already; write another"
        seen.add(name)


def _has_store(tree: dict[str, Any]) -> bool:
    backup = tree.get("backup")
    return isinstance(backup, dict) and backup.get("store") is not None


def _cluster_names(tree: dict[str, Any]) -> list[str]:
    clusters = tree.get("clusters")
    names = [
        "default" if cluster.get("name") is None else cluster["name"]
        for cluster in (clusters if isinstance(clusters, list) else [])
        if isinstance(cluster, dict)
    ]
    return [name for name in names if isinstance(name, str)]


def _cluster_of(path: KeyPath, job: dict[str, Any], clusters: list[str]) -> Iterator[Finding]:
    name = job.get("cluster")
    if name is None and len(clusters) > 1:
        yield (*path, "cluster"), f"there are several clusters; write one of {', '.join(clusters)}"
    elif isinstance(name, str) and clusters and name not in clusters:
        yield (*path, "cluster"), f"there is no such cluster; write one of {', '.join(clusters)}"


def warnings_of_jobs(
    backup: BackupSettings, jobs: Sequence[JobSettings], *, keeps_state: bool
) -> Iterator[str]:
    """Yield what works but should not stay so, each with its path."""
    if jobs and not keeps_state:
        yield (
            "jobs: without state.dir a restart forgets what ran, and what was missed meanwhile is not"
            " made up for; write state.dir"
        )
    if backup.store is not None:
        s3 = backup.store.s3
        if bucket_of(backup.store.url) is None and s3 != S3Settings():
            yield "backup.store.s3: has no effect, because the store is a directory"
        if s3.secret_access_key is not None and s3.endpoint is not None and _is_plain(s3.endpoint):
            yield "backup.store.s3.endpoint: backups go over plain http, readable on the way; use https"
    target = backup.verify.target
    if target is not None:
        if target.api_key is not None and _is_plain(target.url):
            yield "backup.verify.target.api_key: goes over plain http, readable on the way; use https"
        if backup.verify.allow_same_cluster:
            yield "backup.verify.allow_same_cluster: has no effect, because there is a target"
    if backup.store is None and backup != BackupSettings():
        yield "backup: has no effect, because it has no store"


def _is_plain(url: str) -> bool:
    return url.startswith("http://") and not is_loopback(host_of(url))
