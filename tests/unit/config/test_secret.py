"""Secrets: nobody sees them, except who asks in so many words."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

from exporter.config.clusters import ClusterSettings, PeerSettings
from exporter.config.redaction import redacted_yaml
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.errors import ConfigError
from tests.unit.config.writing import problems_of, settings_of

KEY = "pa55-of-the-test"

CLUSTER = "clusters:\n- peers: [http://a]\n  api_key: %s\n"


def _settings() -> Settings:
    cluster = ClusterSettings(peers=(PeerSettings(url="http://a"),), api_key=Secret(KEY))
    return Settings(clusters=(cluster,))


def test_a_secret_tells_its_text_only_to_reveal() -> None:
    """Whoever prints, formats or logs it sees a placeholder."""
    secret = Secret(KEY)

    assert secret.reveal() == KEY
    assert "<secret>" == str(secret) == repr(secret) == f"{secret}" == "%s" % secret  # noqa: UP031
    assert f"{secret:>10}" == "  <secret>"


def test_secrets_are_equal_when_their_texts_are() -> None:
    """A reload must notice a new key, and leave connections alone when it is the old one."""
    assert Secret(KEY) == Secret(KEY)
    assert hash(Secret(KEY)) == hash(Secret(KEY))
    assert Secret(KEY) != Secret(KEY + "x")
    assert Secret(KEY) != KEY


def test_no_view_of_the_settings_shows_a_secret() -> None:
    """repr, str, both dumps, JSON and the YAML of GET /config all hide it."""
    settings = _settings()
    cluster = settings.clusters[0]

    views = [
        repr(settings),
        str(settings),
        repr(cluster),
        f"{cluster.api_key}",
        str(settings.model_dump()),
        str(settings.model_dump(mode="json")),
        settings.model_dump_json(),
        json.dumps(settings.model_dump(mode="json")),
        redacted_yaml(settings),
    ]

    assert [view for view in views if KEY in view] == []
    assert "api_key: <secret>" in redacted_yaml(settings)


def test_a_secret_is_read_from_its_file_without_the_line_break(tmp_path: Path) -> None:
    """Editors and `kubectl create secret` leave a line break at the end."""
    (tmp_path / "key").write_text(KEY + "\n")

    settings = settings_of(tmp_path, CLUSTER % "{file: key}")

    assert (Secret(KEY),) == settings.secrets()


@pytest.mark.parametrize("written", ["${KEY}", "'${KEY}'", "${OTHER:-%s}" % KEY, KEY])  # noqa: UP031
def test_a_secret_is_read_from_a_variable_or_from_the_file_itself(tmp_path: Path, written: str) -> None:
    """Either is possible; the file itself is for those who guard it."""
    settings = settings_of(tmp_path, CLUSTER % written, environment={"KEY": KEY})

    assert (Secret(KEY),) == settings.secrets()


def test_all_secrets_of_all_clusters_are_told_for_the_log_to_hide(tmp_path: Path) -> None:
    """API keys and bearer tokens alike."""
    text = (
        "clusters:\n"
        "  - {name: a, peers: [http://a], api_key: first}\n"
        "  - {name: b, peers: [http://b], bearer_token: second}\n"
        "  - {name: c, peers: [http://c]}\n"
    )

    assert (Secret("first"), Secret("second")) == settings_of(tmp_path, text).secrets()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("{file: gone}", "cannot read the secret's file gone: No such file or directory"),
        ("{file: .}", "cannot read the secret's file .: Is a directory"),
        (
            "{file: two}",
            "the secret's file two must hold one line of visible ASCII characters and nothing else",
        ),
        (
            "{file: none}",
            "the secret's file none must hold one line of visible ASCII characters and nothing else",
        ),
        ("{file: long}", "the secret's file long is longer than 16384 bytes"),
        ("{file: 5}", "write {file: /path/to/secret}"),
        ("''", "the secret is empty; leave the key out if there is none"),
        (
            "'a b'",
            "the secret has a space, a line break or a character beyond ASCII,"
            " which no HTTP header can carry",
        ),
        ("12345", "write ${NAME_OF_A_VARIABLE}, or {file: /path/to/secret}, or the text itself in quotes"),
        (
            "{path: x}",
            "write ${NAME_OF_A_VARIABLE}, or {file: /path/to/secret}, or the text itself in quotes",
        ),
        ("${GONE}", "the environment variable GONE is not set; set it or write ${GONE:-default}"),
    ],
)
def test_a_secret_that_cannot_be_used_is_explained(tmp_path: Path, written: str, message: str) -> None:
    """The message names file or variable and never the text."""
    (tmp_path / "two").write_text("one\ntwo\n")
    (tmp_path / "none").write_text("\n")
    (tmp_path / "long").write_text("x" * 20_000)

    problems = problems_of(tmp_path, CLUSTER % written)

    shown = message.replace(" file .:", f" file {tmp_path}:")
    assert [f"config.yaml:3: clusters.0.api_key: {shown}"] == problems


@pytest.mark.parametrize(
    "text",
    [
        f"clusters: [{{peers: ['http://user:{KEY}@a'], api_key: x}}]",
        f"clusters: [{{peers: ['http://a?key={KEY}']}}]",
        f"clusters: [{{peers: ['http://{KEY} x']}}]",
        f"clusters: [{{peers: ['{KEY}']}}]",
        f"clusters: [{{peers: [http://a], api_key: {{{KEY}: 1, file: x}}}}]",
        f"clusters: [{{peers: [http://a], api_key: [{KEY}]}}]",
        f"clusters: [{{peers: [http://a], api_key: '{KEY} \t'}}]",
        f"clusters: [{{peers: [http://a], api_key: '{KEY}]",
        f"clusters: [{{peers: [http://a], api_key: *{KEY}}}]",
        f"clusters: [{{peers: [http://a], api_key: !{KEY} x}}]",
        f'clusters: [{{peers: [http://a], api_key: "\\q{KEY}"}}]',
        f"clusters: [{{peers: [http://a], api_key: '{KEY}', bearer_token: '{KEY}'}}]",
        f"clusters: [{{peers: [http://a], poll: {{fast: {KEY}, response_limit: {KEY}}}}}]",
        f"clusters: [{{peers: [http://a], poll: {{disabled_sources: [{KEY}]}}}}]",
        f"clusters: [{{name: '{KEY} ', peers: [{{url: http://a, name: '{KEY} '}}]}}]",
        f"clusters: [{{peers: [http://a]}}]\nweb: {{listen_address: {KEY}, external_url: {KEY}}}",
        f"clusters: [{{peers: [http://a]}}]\nlog: {{level: {KEY}}}",
        "clusters: [{peers: ['http://${KEY} x'], discovery: {url_template: '${KEY}'}}]",
    ],
)
def test_no_error_repeats_a_secret_wherever_it_was_pasted(tmp_path: Path, text: str) -> None:
    """Keys land in the wrong line; the error goes to a terminal, a log, a CI's page."""
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text, environment={"KEY": KEY})

    whole = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in whole.replace(f"api_key: *{KEY}", "")
