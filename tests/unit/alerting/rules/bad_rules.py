"""Rules that cannot be used, and what is said about each. `one_rule` in test_load puts the lines in."""

from __future__ import annotations

# lines that replace or follow those of a good rule; what is said, behind its place
BAD_RULES = (
    (
        ("metric: times",),
        "metric: this is a histogram; a rule compares metrics with one value",
    ),
    (
        ("match: {shard: x}",),
        "match.shard: lag has no such label; known here: collection, qdrant_cluster",
    ),
    (
        ("match: {collection: {regex: '('}}",),
        "match.collection.regex: this is not a regular expression that Prometheus knows (RE2): missing ): (",
    ),
    (
        ("match: {collection: {regex: '(?!tmp)x'}}",),
        "match.collection.regex: this is not a regular expression that Prometheus knows (RE2):"
        " invalid perl operator: (?!",
    ),
    (
        ("match: {collection: {}}",),
        "match.collection: write a text, a list of texts, or one of regex, not and not_regex",
    ),
    (
        ("reduce: min",),
        "reduce: min looks back: write the window, for example {fn: min, over: 15m}",
    ),
    (
        ("reduce: {over: 5m}",),
        "reduce.over: last has no window; remove it, or choose min, max or avg",
    ),
    (
        ("reduce: {min_samples: 5}",),
        "reduce.min_samples: last is one sample; remove it, or choose min, max or avg",
    ),
    (
        ("reduce: {fn: increase, over: 5m}",),
        "reduce: lag is no counter and has no increase; choose min, max or changes",
    ),
    (
        ("reduce: {fn: min, over: 3d}",),
        "reduce.over: write 30s to 1d: the samples of the window are held in memory",
    ),
    (
        ("reduce: age",),
        "reduce: lag is no moment (points), so it has no age",
    ),
    (
        ("by: [shard]",),
        "by: lag has no label shard; known here: collection, qdrant_cluster",
    ),
    (
        ("metric: qdrantx_replica_state", "by: [state]"),
        "by: qdrantx_replica_state shows only the state in force, so an alert has none",
    ),
    (
        ("than: {metric: limit, on: [peer]}", "levels: {warning: {}}"),
        "than.on: limit has no label peer; known here: collection, qdrant_cluster",
    ),
    (
        ("metric: disk", "than: {metric: lag, on: [collection]}", "levels: {warning: {}}"),
        "than.on: the rule's own side has no label collection; known here: peer, qdrant_cluster",
    ),
    (
        ("than: {metric: limit, on: [collection]}",),
        "levels.warning.threshold: the rule compares with another metric (than); remove it",
    ),
    (
        ("levels: {warning: {}}",),
        "levels.warning: has no threshold; write one, or compare with another metric by than:",
    ),
    (
        ("levels: {}",),
        "levels: there is no level; write at least one, such as warning:",
    ),
    (
        ("levels: {page: {threshold: 1}}",),
        "levels.page: write one of 'critical', 'error', 'warning' or 'info'",
    ),
    (
        ("levels: {warning: {threshold: 10, clear: 11}}",),
        "levels.warning.clear: an alert on > ends below its threshold: write 10 or less",
    ),
    (
        ('op: "<"', "levels: {warning: {threshold: 10, clear: 9}}"),
        "levels.warning.clear: an alert on < ends above its threshold: write 10 or more",
    ),
    (
        ('op: "=="', "levels: {warning: {threshold: 10, clear: 9}}"),
        "levels.warning.clear: with == there is nothing between trouble and none; remove clear",
    ),
    (
        ("levels: {critical: {threshold: 5}, warning: {threshold: 10}}",),
        "levels.warning.threshold: warning begins no higher than critical: write 5 or less",
    ),
    (
        ('op: "<"', "levels: {critical: {threshold: 5}, warning: {threshold: 1}}"),
        "levels.warning.threshold: warning begins no lower than critical: write 5 or more",
    ),
    (
        ("levels: {critical: {threshold: 50, for: 5m}, warning: {threshold: 10, for: 1m}}",),
        "levels.warning.for: warning fires before critical, which would page twice: write 5m or"
        " more, or a shorter one at critical",
    ),
    (
        ("levels: {warning: {threshold: 10k}}",),
        "levels.warning.threshold: write a plain number, for example 0.8 or 10000",
    ),
    (
        ("levels: {warning: {threshold: 10, for: 5}}",),
        "levels.warning.for: write a duration with its unit, for example 30s, 5m or 1h30m",
    ),
    (
        ("metric: disk", 'or: {metric: lag, op: ">", threshold: 1}'),
        "or.metric: lag has no label peer, which the rule's alerts have; leave it out with by,"
        " or choose another metric",
    ),
    (
        ('when: {metric: disk, on: [peer], op: ">", threshold: 1}',),
        "when.on: the rule's own side has no label peer; known here: collection, qdrant_cluster",
    ),
    (
        ("labels: {collection: x}",),
        "labels.collection: the alert has this label from its series; choose another",
    ),
    (
        ("by: [qdrant_cluster]", "labels: {collection: x}"),
        "labels.collection: the metric has this label, which the rule leaves out; choose another",
    ),
    (
        ("runbook: IndexingLagg",),
        "runbook: no such runbook is shipped (did you mean IndexingLag?); name one that is, or write the"
        " http(s) URL of yours",
    ),
    (
        ("runbook: ftp://wiki/lag",),
        "runbook: no such runbook is shipped (none of the 41 known is like it); name one that is, or"
        " write the http(s) URL of yours",
    ),
    (
        ("labels: {severity: x}",),
        "labels.severity: the label severity comes from the rule itself; choose another name",
    ),
    (
        ("annotations: {description: x}",),
        "annotations: has no summary; write what is wrong in one line",
    ),
    (
        ('annotations: {summary: "{peer}"}',),
        "annotations.summary: there is no field {peer}; known here: value, threshold, since,"
        " changed, url, backup, restore, qdrant_cluster, collection, alertname, severity",
    ),
    (
        ("name: lagging",),
        "name: a rule's name is one word of letters and digits such as IndexingLag",
    ),
    (
        ("name: -",),
        "name: is missing and must be written",
    ),
)

# a pair of inhibition, and what is said
BAD_PAIRS = (
    (
        "{source: Nobody, target: Full, equal: [qdrant_cluster]}",
        "source: there is no rule Nobody; known here: Full, Lagging",
    ),
    (
        "{source: Full, target: Full, equal: [qdrant_cluster]}",
        "target: a rule cannot inhibit itself; its worse level inhibits the milder one anyway",
    ),
    (
        "{source: Lagging, target: Full, equal: [peer]}",
        "equal: alerts of Lagging have no label peer; remove it",
    ),
    (
        "{source: Full, target: Lagging, equal: [qdrant_cluster]}",
        "target: Lagging may fire before Full: its for (1m) must be 5m15s or more, or that of Full shorter",
    ),
)
