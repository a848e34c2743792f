"""Bad configuration files, each with all that is said about it."""
# ruff: noqa: E501  # a message stands in one piece, as it is printed

PEERS = "clusters:\n- peers: [http://a]\n"

BAD_FILES = [
    (
        "clusters: [",
        [
            "config.yaml:1: this is not YAML: look for a missing colon, quote or bracket, or wrong indentation; inside { } and [ ], ${NAME} needs quotes"
        ],
    ),
    ("clusters:\n\t- a", ["config.yaml:2: this is not YAML: a tab stands here; indent with spaces"]),
    ("- a", ["config.yaml: write keys and values here, one `key: value` a line"]),
    ("a: 1\n---\nb: 2", ["config.yaml:2: this is not YAML: but found another document"]),
    ("a: \x01", ["config.yaml: the file has control characters, which YAML forbids"]),
    (
        'a: "\\UFFFFFFFF"',
        ["config.yaml: this is not YAML: a backslash is followed by a character that does not exist"],
    ),
    ("[" * 3000, ["config.yaml: values are nested deeper than 32 levels"]),
    ("a: &a [*a]", ["config.yaml: values are nested deeper than 32 levels"]),
    (
        "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9)),
        ["config.yaml: the file has more than 100000 values"],
    ),
    ("# " + "x" * (1 << 20), ["config.yaml: the file is longer than 1048576 bytes"]),
    (
        "",
        [
            "config.yaml: clusters: nothing to watch: give --qdrant.url http://localhost:6333, or --config.file with a file that has clusters:"
        ],
    ),
    ("clusters: 5", ["config.yaml:1: clusters: write a list here, one `- item` a line"]),
    ("clusters: [a]", ["config.yaml:1: clusters.0: write keys and values here, one `key: value` a line"]),
    (
        "clusters:\n- name: a\n",
        [
            "config.yaml:2: clusters.0: the cluster has no peer; write peers: with a URL, or dns: with one that names them all"
        ],
    ),
    (PEERS + "wbe: {}", ["config.yaml:3: wbe: there is no such key; did you mean web?"]),
    (
        PEERS + "state: {zzz: 1}",
        ["config.yaml:3: state.zzz: there is no such key; known here: dir"],
    ),
    (
        PEERS + "  poll: {fasst: 15s}",
        ["config.yaml:3: clusters.0.poll.fasst: there is no such key; did you mean fast?"],
    ),
    (
        PEERS + "log: {level: info}\nlog: {level: warn}",
        ["config.yaml:4: log: this key is written twice, first in line 3; remove one"],
    ),
    (
        PEERS + "log: &x {level: info}\nstate:\n  <<: *x",
        ["config.yaml:5: state: merge keys (<<) have no meaning here; write the lines out"],
    ),
    (PEERS + "log: !x {}", ["config.yaml:3: log: YAML tags (words with !) have no meaning here; remove it"]),
    (PEERS + "? [a]\n: 1", ["config.yaml:3: a key must be one word of visible characters"]),
    (PEERS + '"\\uD800": 1', ["config.yaml:3: a key must be one word of visible characters"]),
    (
        PEERS + 'log: {level: "\\uD800"}',
        ["config.yaml:3: log.level: the text has half of a UTF-16 pair in it, which is no character"],
    ),
    (PEERS + 'state: {dir: "\\0"}', ["config.yaml:3: state.dir: the text has a NUL character in it"]),
    (
        PEERS + f"  collections: {{cap: {'9' * 5000}}}",
        [
            "config.yaml:3: clusters.0.collections.cap: this looks like a number and is none; put quotes around it"
        ],
    ),
    (
        "clusters:\n- peers:\n  - http://a\n  - name: b",
        ["config.yaml:4: clusters.0.peers.1.url: is missing and must be written"],
    ),
    (
        PEERS + "- peers: [http://b]",
        [
            "config.yaml:3: clusters.1.name: another cluster has this name already;"
            ' write a name of its own for each (without one it is "default")'
        ],
    ),
    (
        PEERS + "- name: b\n  peers: ['http://A:6333/']",
        [
            "config.yaml:4: clusters.1.peers.0: clusters.0.peers.0 has this URL already; a peer is watched once, remove one of them"
        ],
    ),
    (
        "clusters:\n- peers:\n  - {url: http://a, name: x}\n  - {url: http://b, name: x}",
        [
            "config.yaml:4: clusters.0.peers.1: another peer of this cluster has this name, or the same host and port; write a name:"
        ],
    ),
    (
        "clusters:\n- dns: [http://q, http://10.0.0.1]",
        ["config.yaml:2: clusters.0.dns.1: an address resolves to nothing else; write it under peers:"],
    ),
    (
        PEERS + "  api_key: a\n  bearer_token: b",
        [
            "config.yaml:4: clusters.0.bearer_token: api_key and bearer_token are both written; Qdrant reads one of them, remove the other"
        ],
    ),
    (
        PEERS + "  name: a b",
        [
            "config.yaml:3: clusters.0.name: a cluster's name has 1 to 63 letters, digits, dots, hyphens and underscores and starts with a letter or digit"
        ],
    ),
    (
        "clusters:\n- peers: [{url: http://a, name: 'id:7'}]",
        [
            'config.yaml:2: clusters.0.peers.0.name: names that start with "id:" are kept for peers known'
            " by id only; write another"
        ],
    ),
    (
        "clusters:\n- peers: [{url: http://a, name: 'a b'}]",
        [
            "config.yaml:2: clusters.0.peers.0.name: a peer's name has letters, digits, dots, colons, hyphens and underscores and starts with a letter or digit"
        ],
    ),
    (
        PEERS + "  name: 12",
        ["config.yaml:3: clusters.0.name: write text here; put quotes around a number, a date or yes and no"],
    ),
    (
        PEERS + "  tls: {cert_file: config.yaml}",
        ["config.yaml:3: clusters.0.tls: cert_file needs its key_file: write both or neither"],
    ),
    (
        PEERS + "  tls: {key_file: config.yaml}",
        ["config.yaml:3: clusters.0.tls: key_file needs its cert_file: write both or neither"],
    ),
    (
        PEERS + "  tls:\n    ca_file: gone.pem\n    insecure_skip_verify: maybe",
        [
            "config.yaml:4: clusters.0.tls.ca_file: there is no file gone.pem that we may see",
            "config.yaml:5: clusters.0.tls.insecure_skip_verify: write true or false",
        ],
    ),
    (
        PEERS + "  discovery: {url_template: http://q}",
        [
            "config.yaml:3: clusters.0.discovery.url_template: write a URL with {host} or {peer_id} in it, for example https://{host}:6333"
        ],
    ),
    (PEERS + "  collections: {cap: yes}", ["config.yaml:3: clusters.0.collections.cap: write a number"]),
    (
        PEERS + "  collections: {cap: 1.5}",
        ["config.yaml:3: clusters.0.collections.cap: write a whole number"],
    ),
    (
        PEERS + "  collections: {cap: 0}",
        [
            "config.yaml:3: clusters.0.collections.cap: write 1 to 50000: 40 series a collection are 2 million at 50000"
        ],
    ),
    (
        PEERS + "  collections: {include: docs}",
        ["config.yaml:3: clusters.0.collections.include: write a list here, one `- item` a line"],
    ),
    (
        PEERS + "  collections: {exclude: ['']}",
        ["config.yaml:3: clusters.0.collections.exclude.0: is empty; write something or leave the key out"],
    ),
    (
        PEERS + "  collections: {expected: [a/b, ok]}",
        [
            'config.yaml:3: clusters.0.collections.expected.0: Qdrant has no collection with a ", a \\ or a /'
            " in its name"
        ],
    ),
    (
        PEERS + f"  collections: {{expected: [{'x' * 256}]}}",
        [
            "config.yaml:3: clusters.0.collections.expected.0: Qdrant has no collection name longer than 255 bytes"
        ],
    ),
    (
        PEERS + "  collections: {exclude: [d*], expected: [docs]}",
        [
            "config.yaml:3: clusters.0.collections: a name in expected is left out by include and exclude; take it from expected or let the patterns pass it"
        ],
    ),
    (
        PEERS + "  poll: {fast: 15}",
        ["config.yaml:3: clusters.0.poll.fast: write a duration with its unit, for example 30s, 5m or 1h30m"],
    ),
    (
        PEERS + "  poll: {fast: 10m}",
        ["config.yaml:3: clusters.0.poll.fast: write 100ms to 5m: Prometheus forgets a series after 5m"],
    ),
    (
        PEERS + "  poll: {medium: 5s}",
        ["config.yaml:3: clusters.0.poll: write fast <= medium <= slow; they are 15s, 5s and 10m"],
    ),
    (
        PEERS + "  poll: {deadline: 2s}",
        ["config.yaml:3: clusters.0.poll: write fanout_deadline <= deadline; they are 3s and 2s"],
    ),
    (
        PEERS + "  poll: {budget_ratio: .nan}",
        [
            "config.yaml:3: clusters.0.poll.budget_ratio: write 0.0001 to 0.5: the share of time in which a peer may work for us"
        ],
    ),
    (
        PEERS + "  poll: {response_limit: 1000000}",
        [
            "config.yaml:3: clusters.0.poll.response_limit: write a size with its unit, for example 64MiB or 1GB"
        ],
    ),
    (
        PEERS + "  poll: {response_limit: 1KB}",
        [
            "config.yaml:3: clusters.0.poll.response_limit: write 1MiB to 4GiB: an answer is held in memory whole"
        ],
    ),
    (
        PEERS + "  poll: {disabled_sources: [telemetry, metrics]}",
        [
            "config.yaml:3: clusters.0.poll.disabled_sources.0: the source telemetry cannot be switched off: everything else stands on it",
            "config.yaml:3: clusters.0.poll.disabled_sources.1: there is no such source; write one of segments, optimizations, memory, aliases, snapshots, issues, quotas, disk",
        ],
    ),
    (
        PEERS + "  probes: {enabled: maybe}",
        ["config.yaml:3: clusters.0.probes.enabled: write true or false"],
    ),
    (
        PEERS + "  probes: {colections: []}",
        ["config.yaml:3: clusters.0.probes.colections: there is no such key; did you mean collections?"],
    ),
    (
        PEERS + "  probes: {budget_ratio: 0.9, concurrent: 0, pool_limit: 32}",
        [
            "config.yaml:3: clusters.0.probes.budget_ratio: write 0.0001 to 0.5: the share of time in which a peer may work for us",
            "config.yaml:3: clusters.0.probes.concurrent: write 1 to 256: each holds a connection and a search thread",
            "config.yaml:3: clusters.0.probes.pool_limit: write a size with its unit, for example 64MiB or 1GB",
        ],
    ),
    (
        PEERS + "  probes: {pool_limit: 1TiB}",
        ["config.yaml:3: clusters.0.probes.pool_limit: write 0B to 4GiB: it is held in memory"],
    ),
    (
        PEERS + "  probes: {collections: {match: docs}}",
        ["config.yaml:3: clusters.0.probes.collections: write a list here, one `- item` a line"],
    ),
    (
        PEERS + "  probes:\n    collections:\n    - match: ''\n    - vector: 5\n    - {limit: 2.5}",
        [
            "config.yaml:5: clusters.0.probes.collections.0.match: is empty; write something or leave the key out",
            "config.yaml:6: clusters.0.probes.collections.1.vector: write text here; put quotes around a number, a date or yes and no",
            "config.yaml:7: clusters.0.probes.collections.2.limit: write a whole number",
        ],
    ),
    (
        PEERS + "  probes: {collections: [{interval: 500ms, deadline: 2m, limit: 1001, hnsw_ef: 0}]}",
        [
            "config.yaml:3: clusters.0.probes.collections.0.interval: write 1s to 1h: a p95 needs twenty searches",
            "config.yaml:3: clusters.0.probes.collections.0.deadline: write 100ms to 1m: a search that takes longer failed its user",
            "config.yaml:3: clusters.0.probes.collections.0.limit: write 1 to 1000: ids are compared by it, and it is the k of recall",
            "config.yaml:3: clusters.0.probes.collections.0.hnsw_ef: write 1 to 100000: it is what Qdrant may visit",
        ],
    ),
    (
        PEERS
        + "  probes: {collections: [{recall: {interval: 2d, max_points: -1, window: 1s, latency_target: 2m}}]}",
        [
            "config.yaml:3: clusters.0.probes.collections.0.recall.interval: write 1s to 1d: recall is told over a day at the most",
            "config.yaml:3: clusters.0.probes.collections.0.recall.max_points: write 0 to 10000000000: an exact search compares with every point",
            "config.yaml:3: clusters.0.probes.collections.0.recall.window: write 10s to 1d: it holds a few dozen queries",
            "config.yaml:3: clusters.0.probes.collections.0.recall.latency_target: write 1ms to 1m: it is the p95 of a search",
        ],
    ),
    (
        PEERS + "  probes: {collections: [{filter: {must_have: 1}}, {filter: {}}, {filter: docs}]}",
        [
            f"config.yaml:3: clusters.0.probes.collections.{index}.filter: a filter is keys and values, with one or more of must, should, must_not, min_should"
            for index in range(3)
        ],
    ),
    (
        PEERS + "  probes: {collections: [{filter: {must: [.nan]}}]}",
        [
            "config.yaml:3: clusters.0.probes.collections.0.filter: a filter holds text, numbers, true, false, lists and keys only"
        ],
    ),
    (
        PEERS + "  probes: {collections: [{queries_file: gone.jsonl}, {queries_file: 5}, {queries_file: .}]}",
        [
            "config.yaml:3: clusters.0.probes.collections.0.queries_file: gone.jsonl cannot be read: No such file or directory",
            "config.yaml:3: clusters.0.probes.collections.1.queries_file: write the path of a file of queries, one JSON object a line",
            "config.yaml:3: clusters.0.probes.collections.2.queries_file: DIRECTORY cannot be read: Is a directory",
        ],
    ),
    (
        PEERS + "  probes: {collections: [{queries_file: config.yaml}]}",
        [
            "config.yaml:3: clusters.0.probes.collections.0.queries_file: config.yaml: line 1: is not JSON; line 2: is not JSON; line 3: is not JSON"
        ],
    ),
    (
        PEERS + "  probes: {canary: {interval: 2h, deadline: 10, api_key: {file: gone}}}",
        [
            "config.yaml:3: clusters.0.probes.canary.interval: write 1s to 1h: after an hour our points count as left over",
            "config.yaml:3: clusters.0.probes.canary.deadline: write a duration with its unit, for example 30s, 5m or 1h30m",
            "config.yaml:3: clusters.0.probes.canary.api_key: cannot read the secret's file gone: No such file or directory",
        ],
    ),
    (
        PEERS + "web: {listen_address: 10633}",
        [
            'config.yaml:3: web.listen_address: write an address to listen on such as ":10633", "127.0.0.1:10633" or "[::1]:10633"'
        ],
    ),
    (
        PEERS + "web: {listen_address: []}",
        ["config.yaml:3: web.listen_address: the list is empty; write an address or leave the key out"],
    ),
    (
        PEERS + "web: {listen_address: [':1', ':1']}",
        ["config.yaml:3: web.listen_address: an address is written twice; remove one"],
    ),
    (
        PEERS + "web: {listen_address: localhost}",
        [
            'config.yaml:3: web.listen_address.0: write an address to listen on such as ":10633",'
            ' "127.0.0.1:10633" or "[::1]:10633"'
        ],
    ),
    (
        PEERS + "web: {config_file: .}",
        ["config.yaml:3: web.config_file: DIRECTORY is a directory; write the path of a file"],
    ),
    (
        PEERS + f"web: {{config_file: {'x' * 300}}}",
        ["config.yaml:3: web.config_file: this is not the path of a file: File name too long"],
    ),
    (
        PEERS + f"state: {{dir: {'x' * 300}}}",
        ["config.yaml:3: state.dir: this is not the path of a directory: File name too long"],
    ),
    (
        PEERS + "log: {level: trace}",
        ["config.yaml:3: log.level: write one of 'debug', 'info', 'warn' or 'error'"],
    ),
    (PEERS + "state: {dir: config.yaml}", ["config.yaml:3: state.dir: config.yaml is not a directory"]),
    (
        PEERS + "log: {level: '${LEVEL}', format: '${1}'}",
        [
            "config.yaml:3: log.level: the environment variable LEVEL is not set; set it or write ${LEVEL:-default}",
            "config.yaml:3: log.format: write ${NAME} or ${NAME:-default} for a variable, and $${ for the text ${",
        ],
    ),
    (
        PEERS + "  name: 1\n  poll: {fast: 1}\n- name: b\nweb: {x: 1}\n",
        [
            "config.yaml:3: clusters.0.name: write text here; put quotes around a number, a date or yes and no",
            "config.yaml:4: clusters.0.poll.fast: write a duration with its unit, for example 30s, 5m or 1h30m",
            "config.yaml:5: clusters.1: the cluster has no peer; write peers: with a URL, or dns: with one that names them all",
            "config.yaml:6: web.x: there is no such key; known here: listen_address, config_file, external_url, enable_lifecycle",
        ],
    ),
]
