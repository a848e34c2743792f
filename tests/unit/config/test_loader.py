"""Loading the configuration: file, variables, flags, and everything that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.checks import warnings_of
from exporter.config.clusters import (
    ClusterSettings,
    CollectionSettings,
    DiscoverySettings,
    PeerSettings,
    PollSettings,
    TlsSettings,
)
from exporter.config.loader import load
from exporter.config.redaction import redacted_yaml
from exporter.config.settings import LogSettings, Settings, StateSettings, WebSettings
from exporter.errors import ConfigError
from tests.unit.config.bad_files import BAD_FILES, PEERS
from tests.unit.config.writing import problems_of, settings_of

SOME_OF_EVERYTHING = """\
clusters:
- name: prod
  peers:
  - http://a
  - {url: http://b:7000, name: b, storage_path: data}
  dns: [https://qdrant.svc]
  discovery: {enabled: false, url_template: 'https://{host}:6333'}
  tls: {ca_file: ca.pem, server_name: q, insecure_skip_verify: true}
  collections: {include: ['a*'], exclude: ['ab*'], expected: [aa], cap: 7}
  poll: {fast: 1s, medium: 2s, slow: 3s, deadline: 900ms, fanout_deadline: 800ms, budget_ratio: 0.1,
         response_limit: 2MB, disabled_sources: [disk, quotas]}
- name: test
  peers: [http://c]
web: {listen_address: [':1', '[::1]:2'], config_file: web.yaml, external_url: 'https://x.org/q/',
      enable_lifecycle: true}
log: {level: warn, format: json}
state: {dir: state}
"""


def test_every_option_of_a_file_arrives(tmp_path: Path) -> None:
    """Durations come as seconds, sizes as bytes, relative paths from the file's directory."""
    (tmp_path / "ca.pem").touch()
    (tmp_path / "web.yaml").touch()

    loaded = settings_of(tmp_path, SOME_OF_EVERYTHING)

    prod = ClusterSettings(
        name="prod",
        peers=(
            PeerSettings(url="http://a:6333"),
            PeerSettings(url="http://b:7000", name="b", storage_path=tmp_path / "data"),
        ),
        dns=("https://qdrant.svc:6333",),
        discovery=DiscoverySettings(enabled=False, url_template="https://{host}:6333"),
        tls=TlsSettings(ca_file=tmp_path / "ca.pem", server_name="q", insecure_skip_verify=True),
        collections=CollectionSettings(include=("a*",), exclude=("ab*",), expected=("aa",), cap=7),
        poll=PollSettings(
            fast_seconds=1.0,
            medium_seconds=2.0,
            slow_seconds=3.0,
            deadline_seconds=0.9,
            fanout_deadline_seconds=0.8,
            budget_ratio=0.1,
            response_limit_bytes=2_000_000,
            disabled_sources=("disk", "quotas"),
        ),
    )
    assert loaded == Settings(
        clusters=(prod, ClusterSettings(name="test", peers=(PeerSettings(url="http://c:6333"),))),
        web=WebSettings(
            listen_addresses=(":1", "[::1]:2"),
            config_file=tmp_path / "web.yaml",
            external_url="https://x.org/q",
            enable_lifecycle=True,
        ),
        log=LogSettings(level="warn", format="json"),
        state=StateSettings(dir=tmp_path / "state"),
    )


def test_the_shown_configuration_loads_to_the_same_settings(tmp_path: Path) -> None:
    """What GET /config shows can be copied into a file, secrets aside."""
    (tmp_path / "ca.pem").touch()
    (tmp_path / "web.yaml").touch()
    loaded = settings_of(tmp_path, SOME_OF_EVERYTHING)

    assert settings_of(tmp_path, redacted_yaml(loaded)) == loaded


def test_keys_with_nothing_after_them_have_their_defaults(tmp_path: Path) -> None:
    """People comment out all of a section and leave its head."""
    text = PEERS + "  name:\n  poll:\n  collections: {cap: }\nweb:\nlog:\n  level:\n"

    assert settings_of(tmp_path, text) == settings_of(tmp_path, PEERS)


def test_an_anchor_may_repeat_a_part(tmp_path: Path) -> None:
    """Several clusters often share one pace."""
    text = (
        "clusters:\n"
        "- {name: a, peers: [http://a], poll: &pace {fast: 20s}}\n"
        "- {name: b, peers: [http://b], poll: *pace}\n"
    )

    assert [cluster.poll.fast_seconds for cluster in settings_of(tmp_path, text).clusters] == [20.0, 20.0]


def test_variables_are_replaced_inside_texts(tmp_path: Path) -> None:
    """A default stands in for one that is unset or empty; $${ is the text itself."""
    text = (
        "clusters:\n- peers: ['http://${HOST}:${PORT:-7000}', 'http://${EMPTY:-b}']\n"
        "  collections: {include: ['$${x}$y'], cap: '${CAP}'}\n"
    )

    cluster = settings_of(tmp_path, text, environment={"HOST": "a", "EMPTY": "", "CAP": "9"}).clusters[0]

    assert [peer.url for peer in cluster.peers] == ["http://a:7000", "http://b:6333"]
    assert cluster.collections == CollectionSettings(include=("${x}$y",), cap=9)


def test_collections_are_selected_by_globs_over_the_whole_name() -> None:
    """Some include must match and no exclude may; case matters, and line breaks are text like any."""
    collections = CollectionSettings(include=("docs*", "a?c"), exclude=("*_tmp",))

    names = ["docs", "docs_2", "docs\n3", "abc", "docs_tmp", "Docs", "abbc", "xdocs"]
    assert [name for name in names if collections.selects(name)] == ["docs", "docs_2", "docs\n3", "abc"]


@pytest.mark.parametrize(("text", "expected"), BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_bad_file_is_explained_with_line_path_and_what_to_write(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    """Every problem of a file at once, in the order of its lines."""
    assert [
        problem.replace(str(tmp_path), "DIRECTORY") for problem in problems_of(tmp_path, text)
    ] == expected


def test_a_file_that_is_missing_or_no_text_is_explained(tmp_path: Path) -> None:
    """The operator sees the path that was tried."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    for name, message in (
        ("gone.yaml", "the file cannot be read: No such file or directory"),
        ("binary", "the file is not UTF-8 text"),
        ("", "the file cannot be read: Is a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / name, {}, {})
        assert str(caught.value) == f"{tmp_path / name}: {message}"


def test_problems_of_the_web_file_are_told_together_with_ours(tmp_path: Path) -> None:
    """`check` must not say that all is well and `run` refuse to start."""
    (tmp_path / "web.yaml").write_text("tls_server_config: {cert: x}\n")

    problems = problems_of(tmp_path, PEERS + "web: {config_file: web.yaml}\nlog: {level: no}")

    assert problems[0].startswith("config.yaml:4: log.level:")
    assert problems[1].startswith("web.yaml:1: tls_server_config.cert")


def test_a_key_over_plain_http_is_a_warning(tmp_path: Path) -> None:
    """It works, and everybody on the way can read it; on loopback nobody can."""
    text = (
        "clusters:\n"
        "- {name: a, peers: [http://qdrant, http://localhost, https://q], api_key: k}\n"
        "- {name: b, peers: [http://other]}\n"
        "- {name: c, peers: [https://c], bearer_token: k, tls: {insecure_skip_verify: true}}\n"
        "- {name: d, peers: [http://d], tls: {server_name: d}}\n"
    )

    assert warnings_of(settings_of(tmp_path, text)) == (
        "clusters.0.api_key: goes over plain http to qdrant:6333, readable on the way; use https",
        "clusters.2.tls.insecure_skip_verify: whoever stands between can read the bearer_token;"
        " write ca_file instead",
        "clusters.3.tls: has no effect, because no URL of this cluster starts with https",
    )


_WORDS = st.sampled_from(
    ["clusters", "peers", "url", "name", "api_key", "file", "poll", "fast", "15s", "http://a", "web", "tls",
     "listen_address", ":1", "${X}", "{host}", "collections", "include", "log", "level", "info"]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _WORDS | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_WORDS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
_CLUSTERS = st.fixed_dictionaries(
    {"clusters": st.lists(_VALUES | st.dictionaries(_WORDS, _VALUES), max_size=2)}
)


def _settings_or_problems(directory: Path, content: bytes) -> Settings | ConfigError:
    (directory / "any.yaml").write_bytes(content)
    try:
        return load(directory / "any.yaml", {}, {})
    except ConfigError as error:
        str(error).encode()
        return error


_MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@_MANY
@given(
    content=st.binary(max_size=60)
    | st.text(alphabet="ab:-[]{}&*!|>'\"%@` \n\t#?,<0\\uU.", max_size=60).map(str.encode)
)
def test_any_text_gives_settings_or_problems(tmp_path: Path, content: bytes) -> None:
    """No file, however broken, makes the program fail in another way."""
    assert isinstance(_settings_or_problems(tmp_path, content), Settings | ConfigError)


@_MANY
@given(tree=_VALUES | _CLUSTERS)
def test_any_tree_gives_settings_or_problems(tmp_path: Path, tree: object) -> None:
    """No value of a wrong type in any place makes the program fail in another way."""
    content = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")

    assert isinstance(_settings_or_problems(tmp_path, content), Settings | ConfigError)
