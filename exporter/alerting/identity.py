"""What makes two alerts, or two groups of alerts, the same: labels alone, never values or thresholds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from exporter.alerting.words import ALERTNAME, SEVERITY, LabelPairs, Level, Rule
from exporter.config.alerting import EVERY_LABEL
from exporter.model import CLUSTER_LABEL

# FNV-1a with 64 bits, as Prometheus' and Alertmanager's Fingerprint: a byte that is in no
# UTF-8 text ends each name and each value.
_OFFSET_BASIS = 14_695_981_039_346_656_037
_PRIME = 1_099_511_628_211
_SIXTY_FOUR_BITS = 0xFFFF_FFFF_FFFF_FFFF
_SEPARATOR = b"\xff"

_KEY_PREFIX = "qdrantx-"
_KEY_DIGITS = 40  # 160 bits; PagerDuty takes keys of 255 characters


def fingerprint(labels: LabelPairs) -> str:
    """Return the 16 hexadecimal digits by which Alertmanager knows an alert of these labels."""
    digest = _OFFSET_BASIS
    for name, value in sorted(labels):
        if value:  # Alertmanager drops empty ones first
            for byte in name.encode() + _SEPARATOR + value.encode() + _SEPARATOR:
                digest = (digest ^ byte) * _PRIME & _SIXTY_FOUR_BITS
    return f"{digest:016x}"


def labels_of(rule: Rule, level: Level, series: LabelPairs) -> LabelPairs:
    """Return an alert's labels: the series', then the rule's, its name and its level over them."""
    labels = {**dict(series), **dict(rule.labels), ALERTNAME: rule.name, SEVERITY: level.severity}
    return tuple(sorted((name, value) for name, value in labels.items() if value))


def series_of(rule: Rule, labels: LabelPairs) -> LabelPairs:
    """Return what `labels_of` was given of the series, from an alert's labels."""
    ours = {ALERTNAME, SEVERITY, *(name for name, _ in rule.labels)}
    return tuple(pair for pair in labels if pair[0] not in ours)


def group_labels(labels: LabelPairs, group_by: Iterable[str]) -> LabelPairs:
    """Return the labels an alert shares with its group. Two clusters never share a group."""
    wanted = {*group_by, CLUSTER_LABEL}
    if EVERY_LABEL in wanted:
        return labels
    return tuple(pair for pair in labels if pair[0] in wanted)


def group_key(group: LabelPairs, severity: str) -> str:
    """Return what every daemon, now and later, calls the group of these labels and this severity."""
    cluster = dict(group).get(CLUSTER_LABEL, "")
    content = json.dumps([cluster, sorted(group), severity], separators=(",", ":"), ensure_ascii=True)
    return _KEY_PREFIX + hashlib.sha256(content.encode()).hexdigest()[:_KEY_DIGITS]
