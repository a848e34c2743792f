"""Flags and environment variables: which wins, and the clusters that need no file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from exporter.config.flags import FLAGS, SECRET_VARIABLES
from exporter.config.loader import load
from exporter.config.overlay import as_flags
from exporter.config.secret import Secret
from exporter.errors import ConfigError
from tests.unit.config.writing import NOTHING, problems_of, settings_of

FILE = "clusters:\n- peers: [http://a]\nlog: {level: error, format: json}\n"

# One value of each flag, and what it makes of the settings' part that the table names.
EXAMPLES: Mapping[str, tuple[Any, str, object]] = {
    "web.listen-address": ([":1", ":2"], ":1,:2", (":1", ":2")),
    "web.external-url": ("http://x", "http://x", "http://x"),
    "web.enable-lifecycle": (True, "true", True),
    "log.level": ("debug", "debug", "debug"),
    "log.format": ("console", "console", "console"),
    "state.dir": ("there", "there", Path.cwd() / "there"),
}


def _problems(flags: Mapping[str, Any], environment: Mapping[str, str] = NOTHING) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(None, flags, environment)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_flag_and_its_variable_set_the_option_that_the_table_names(tmp_path: Path, name: str) -> None:
    """The table is what the help and the documentation are made of: it must be true."""
    flag = next(flag for flag in FLAGS if flag.name == name)
    value, text, expected = EXAMPLES[name]
    section, key = flag.path.split(".")

    by_flag = settings_of(tmp_path, FILE, flags={name: value})
    by_variable = settings_of(tmp_path, FILE, environment={flag.variable: text})

    attribute = {"listen_address": "listen_addresses"}.get(key, key)
    assert getattr(getattr(by_flag, section), attribute) == expected
    assert by_variable == by_flag


def test_every_flag_has_an_example_here_or_a_test_of_its_own() -> None:
    """A flag that does nothing would otherwise go unnoticed."""
    own = {
        "config.file", "web.config.file", "qdrant.url", "qdrant.api-key-file", "qdrant.no-discovery",
        "alert.webhook", "store",
    }  # fmt: skip

    assert {flag.name for flag in FLAGS} == own | set(EXAMPLES)


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    """What is typed now is meant more than what was written once."""
    log = settings_of(
        tmp_path,
        FILE,
        flags={"log.level": "debug"},
        environment={"QDRANT_EXPORTER_LOG_LEVEL": "warn", "QDRANT_EXPORTER_LOG_FORMAT": "console"},
    ).log

    assert (log.level, log.format) == ("debug", "console")


def test_flags_not_given_and_empty_variables_change_nothing(tmp_path: Path) -> None:
    """The command line hands over None, False and empty lists for what nobody typed."""
    nothing: dict[str, Any] = {flag.name: None for flag in FLAGS}
    nothing |= {"qdrant.url": [], "web.listen-address": (), "web.enable-lifecycle": False}
    empty = {flag.variable: "" for flag in (*FLAGS, *SECRET_VARIABLES)}

    assert settings_of(tmp_path, FILE, flags=nothing, environment=empty) == settings_of(tmp_path, FILE)


def test_the_configuration_file_may_be_named_by_its_variable(tmp_path: Path) -> None:
    """In a container there is often only the environment."""
    file = tmp_path / "q.yaml"
    file.write_text(FILE)

    by_variable = load(None, {}, {"QDRANT_EXPORTER_CONFIG_FILE": str(file)})

    assert by_variable == load(None, {"config.file": file}, {}) == load(file, {}, {})


def test_the_web_file_of_a_flag_is_read_from_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path on the command line is not relative to the configuration file."""
    (tmp_path / "web.yaml").touch()
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path)

    web = settings_of(tmp_path / "conf", FILE, flags={"web.config.file": "web.yaml"}).web

    assert web.config_file == tmp_path / "web.yaml"


def test_a_problem_of_a_flag_or_variable_is_told_by_its_name(tmp_path: Path) -> None:
    """There is no line to look at; what was typed is what the person knows."""
    problems = problems_of(
        tmp_path,
        FILE,
        flags={"log.level": "loud", "web.listen-address": ["x"]},
        environment={
            "QDRANT_EXPORTER_WEB_ENABLE_LIFECYCLE": "maybe",
            "QDRANT_EXPORTER_QDRANT_NO_DISCOVERY": "?",
        },
    )

    assert sorted(problems) == [
        "--log.level: write one of 'debug', 'info', 'warn' or 'error'",
        '--web.listen-address: write an address to listen on such as ":10633", "127.0.0.1:10633"'
        ' or "[::1]:10633"',
        "QDRANT_EXPORTER_QDRANT_NO_DISCOVERY: write true or false",
        "QDRANT_EXPORTER_WEB_ENABLE_LIFECYCLE: write true or false",
    ]


def test_a_url_alone_makes_a_cluster() -> None:
    """The shortest way to see something: each further URL is one more peer of it."""
    (cluster,) = load(None, {"qdrant.url": ["http://a", "http://b:7000"]}, {}).clusters

    assert cluster.name == "default"
    assert [peer.url for peer in cluster.peers] == ["http://a:6333", "http://b:7000"]
    assert cluster.discovery.enabled
    assert cluster.api_key is None


def test_a_url_alone_may_be_a_variable_with_several_separated_by_commas() -> None:
    """The same without a command line."""
    (cluster,) = load(None, {}, {"QDRANT_EXPORTER_QDRANT_URL": "http://a, http://b"}).clusters

    assert [peer.url for peer in cluster.peers] == ["http://a:6333", "http://b:6333"]


def test_the_key_for_a_url_comes_from_a_file_or_from_the_environment(tmp_path: Path) -> None:
    """Never from the command line, which every user of the machine can read; the flag wins."""
    (tmp_path / "key").write_text("from-file\n")
    url, file = {"qdrant.url": ["http://a"]}, str(tmp_path / "key")
    key = {"QDRANT_EXPORTER_QDRANT_API_KEY": "from-variable"}

    ways = [
        load(None, url, key),
        load(None, url, {"QDRANT_EXPORTER_QDRANT_API_KEY_FILE": file}),
        load(None, url | {"qdrant.api-key-file": file}, key),
    ]

    assert [settings.clusters[0].api_key for settings in ways] == [
        Secret("from-variable"),
        Secret("from-file"),
        Secret("from-file"),
    ]


def test_two_variables_for_one_key_are_refused(tmp_path: Path) -> None:
    """Nobody could say which of them is meant."""
    (tmp_path / "key").write_text("from-file")

    problems = _problems(
        {"qdrant.url": ["http://a"]},
        {"QDRANT_EXPORTER_QDRANT_API_KEY": "k", "QDRANT_EXPORTER_QDRANT_API_KEY_FILE": str(tmp_path / "key")},
    )

    assert problems == [
        "QDRANT_EXPORTER_QDRANT_API_KEY_FILE: QDRANT_EXPORTER_QDRANT_API_KEY is set too; unset one of the two"
    ]


def test_no_discovery_holds_for_every_cluster_of_the_file(tmp_path: Path) -> None:
    """It is the switch for an emergency; false in the variable leaves the file alone."""
    text = (
        "clusters:\n"
        "- {name: a, peers: [http://a]}\n"
        "- {name: b, peers: [http://b], discovery: {enabled: true, url_template: 'http://{host}'}}\n"
    )
    variable = "QDRANT_EXPORTER_QDRANT_NO_DISCOVERY"

    ways = [
        settings_of(tmp_path, text, flags={"qdrant.no-discovery": True}),
        settings_of(tmp_path, text, environment={variable: "1"}),
        settings_of(tmp_path, text, environment={variable: "false"}),
    ]

    switched = [[cluster.discovery.enabled for cluster in settings.clusters] for settings in ways]
    assert switched == [[False, False], [False, False], [True, True]]
    assert ways[0].clusters[1].discovery.url_template == "http://{host}"


def test_a_url_beside_a_file_with_clusters_is_refused(tmp_path: Path) -> None:
    """Whether it adds, replaces or belongs to one of them, only the person knows."""
    problems = problems_of(
        tmp_path,
        FILE,
        flags={"qdrant.url": ["http://b"]},
        environment={"QDRANT_EXPORTER_QDRANT_API_KEY": "k"},
    )

    assert problems == [
        "--qdrant.url: the configuration file has clusters already; write this there, as peers:"
        " of its cluster, or take clusters: out of the file",
        "QDRANT_EXPORTER_QDRANT_API_KEY: the configuration file has clusters already; write this there,"
        " as api_key: of its cluster, or take clusters: out of the file",
    ]


def test_a_url_beside_a_file_without_clusters_makes_one(tmp_path: Path) -> None:
    """The file may hold only what concerns the daemon."""
    settings = settings_of(tmp_path, "log: {level: warn}\n", flags={"qdrant.url": ["http://b"]})

    assert settings.log.level == "warn"
    assert [peer.url for peer in settings.clusters[0].peers] == ["http://b:6333"]


def test_nothing_at_all_is_refused_with_both_ways_to_begin() -> None:
    """Watching localhost unasked would show a dead peer to who forgot the file."""
    assert _problems({}) == [
        "clusters: nothing to watch: give --qdrant.url http://localhost:6333,"
        " or --config.file with a file that has clusters:"
    ]


def test_a_wrong_url_on_the_command_line_is_told_by_the_flag() -> None:
    """And one that is given twice."""
    assert _problems({"qdrant.url": ["a:6333", "http://b", "http://b:6333"]}) == [
        "--qdrant.url: the scheme must be http:// or https://; write a URL such as http://qdrant-0:6333",
        "--qdrant.url: clusters.0.peers.1 has this URL already; a peer is watched once, remove one of them",
    ]


def test_the_table_of_flags_is_there_without_pydantic() -> None:
    """`--help` must answer at once, and pydantic alone costs a third of that time."""
    code = "import sys, exporter.config.flags; sys.exit('pydantic' in sys.modules or 'yaml' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_secret_can_be_typed_as_a_flag() -> None:
    """Only by file or by variable."""
    assert {flag.name for flag in SECRET_VARIABLES} & {flag.name for flag in FLAGS} == set()


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("backups", str(Path.cwd() / "backups")),
        ("/var/backups", "/var/backups"),
        ("s3://bucket/qdrant", "s3://bucket/qdrant"),
    ],
)
def test_a_store_can_be_given_without_a_file(written: str, url: str) -> None:
    """`backup run --qdrant.url U --store DIR`; a directory is meant from where the command runs."""
    by_flag = load(None, {"qdrant.url": ["http://a"], "store": written}, {})
    by_variable = load(None, {"qdrant.url": ["http://a"]}, {"QDRANT_EXPORTER_STORE": written})

    assert by_flag.backup.store is not None
    assert by_flag.backup.store.url == url
    assert by_variable == by_flag


def test_the_same_configuration_can_be_told_as_flags_to_a_person_elsewhere() -> None:
    """For the command of a page: whole paths, whatever they came from, and no key."""
    secret = {"QDRANT_EXPORTER_QDRANT_API_KEY": "k"}

    by_file = as_flags({}, {"QDRANT_EXPORTER_CONFIG_FILE": "exporter.yaml"} | secret)
    without = as_flags({"qdrant.url": ["http://a", "http://b"], "store": "backups"}, secret)

    assert by_file == ("--config.file", str(Path.cwd() / "exporter.yaml"))
    assert without == (
        *("--qdrant.url", "http://a", "--qdrant.url", "http://b"),
        *("--store", str(Path.cwd() / "backups")),
    )
    assert as_flags({"store": "s3://bucket/prefix"}, {}) == ("--store", "s3://bucket/prefix")


def test_the_store_of_the_flag_takes_the_place_of_the_file_s_and_leaves_the_rest(tmp_path: Path) -> None:
    """Its retention is meant for that store too, and a relative path starts where the command runs."""
    file = FILE + "backup: {store: {url: here, single_writer: true}, retention: {last: 3}}\n"

    backup = settings_of(tmp_path, file, flags={"store": "there"}).backup

    assert backup.store is not None
    assert (backup.store.url, backup.store.single_writer) == (str(Path.cwd() / "there"), True)
    assert backup.retention.last == 3


def test_a_verb_that_only_looks_into_a_store_needs_nothing_to_watch() -> None:
    """`backup list --store DIR` on any host."""
    settings = load(None, {"store": "/var/backups"}, {}, needs_cluster=False)

    assert settings.clusters == ()
    assert settings.backup.store is not None
