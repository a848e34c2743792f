"""config.example.yaml holds every option, with the default that is in force and its flag."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest

from exporter.config.alerting import RECEIVER_KINDS, AlertingSettings
from exporter.config.backup import BackupSettings
from exporter.config.checks import problems_between
from exporter.config.clusters import ClusterSettings, PeerSettings
from exporter.config.document import Document, read_document
from exporter.config.fields import Section, keys_of
from exporter.config.flags import FLAGS, SECRET_VARIABLES
from exporter.config.jobs import JobSettings
from exporter.config.loader import load
from exporter.config.problems import section_in
from exporter.config.settings import Settings
from exporter.config.written import Written

EXAMPLE = Path(__file__).parents[3] / "config.example.yaml"

Option = tuple[tuple[str, ...], object]

# Routes lie in routes: what is written below one is an option of the first.
ROUTES = ("alerting", "route", "routes")


def _options(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[Option]:
    """Yield path and default of every key that holds a value, as GET /config would show it."""
    shown = section.model_construct().model_dump(mode="json", warnings=False)
    for key, field in keys_of(section).items():
        inner = section_in(field.annotation)
        if inner is None or field.default == () or get_origin(field.annotation) is dict:
            default = None if field.is_required() else shown[key]
            yield (*path, key), default
        elif field.is_required():
            yield (*path, key), None  # a list of sections that must be written
        if inner is not None and inner is not section:
            yield from _options(inner, (*path, key))


OPTIONS = tuple(_options(Settings))
# Mappings whose keys are names that a person chose: "rules", "levels".
NAMED = {path for path, default in OPTIONS if default == {}}


@pytest.fixture
def whole_example(tmp_path: Path) -> Document:
    """The example with every commented-out option (`#key:`) in force, lines as they were."""
    text = re.sub(r"^( *)#(?=(?:- )?[A-Za-z_0-9]+:)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    (tmp_path / "whole.yaml").write_text(text)
    return read_document(tmp_path / "whole.yaml")


def _without_indexes(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return the path of the option, without places in lists and names that a person chose."""
    kept: tuple[str, ...] = ()
    is_a_name = False
    for key in (key for key in path if isinstance(key, str)):
        if is_a_name:
            is_a_name = False
            continue
        kept = (*kept[:-1], key) if kept == ROUTES else (*kept, key)
        is_a_name = kept in NAMED
    return kept


def _comments(document: Document) -> dict[tuple[str, ...], str]:
    """Return the comment above each option, as one line."""
    lines = EXAMPLE.read_text().splitlines()
    comments = {}
    for path, origin in document.origins.items():
        if not path or not isinstance(path[-1], str):
            continue
        first = last = (origin.line or 0) - 1
        while lines[first - 1].strip().startswith("# "):
            first -= 1
        # an option that is written several times is explained the first time
        comments.setdefault(_without_indexes(path), " ".join(line.strip(" #") for line in lines[first:last]))
    return comments


def _as_stated(default: object) -> str:
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if default == [":10633"]:
        return '":10633"'
    return str(default).replace("'", '"')


def test_the_example_is_valid_as_it_stands_and_says_only_defaults() -> None:
    """Who copies it and changes a line changes just that."""
    expected = Settings(clusters=(ClusterSettings(peers=(PeerSettings(url="http://localhost:6333"),)),))

    assert load(EXAMPLE, {}, {}) == expected


@pytest.mark.parametrize(("path", "default"), OPTIONS, ids=[".".join(path) for path, _ in OPTIONS])
def test_the_example_states_the_default_of_every_option(
    whole_example: Document, path: tuple[str, ...], default: Any
) -> None:
    """A new option without a line there, or a changed default, fails here."""
    comment = _comments(whole_example)[path]

    stated = re.search(r"Default: (.+?)[.,:;]?(?: |$)", comment)
    assert stated is not None, comment
    assert stated[1].rstrip(".,:;") == _as_stated(default)


def test_the_example_has_no_option_that_does_not_exist(whole_example: Document) -> None:
    """A removed option must go from the example too."""
    sections = {path[:length] for path, _ in OPTIONS for length in range(1, len(path) + 1)}
    free = {
        ("clusters", "bearer_token"),
        ("clusters", "probes", "collections", "filter"),
        ("alerting", "receivers", "pagerduty", "routing_key"),
        ("backup", "store", "s3", "secret_access_key"),
    }

    written = {_without_indexes(path) for path in whole_example.origins} - {()}
    inside_free = {path for path in written for value in free if path[: len(value)] == value != path}

    assert whole_example.problems.told() == ()
    assert written - inside_free == sections


def test_the_example_names_every_flag_at_its_option(whole_example: Document) -> None:
    """Who reads about an option learns how to give it on the command line."""
    comments = _comments(whole_example)
    options = [flag for flag in FLAGS if flag.path]

    missing = [
        flag.option
        for flag in options
        if flag.option not in comments[tuple(key for key in flag.path.split(".") if key not in "0*")]
    ]

    assert missing == []
    assert [flag for flag in SECRET_VARIABLES if flag.variable not in EXAMPLE.read_text()] == []


def test_what_the_example_writes_of_alerting_is_valid_too(whole_example: Document) -> None:
    """One receiver of each kind, routes, mute times and overrides: who takes a # away has it right."""
    written = whole_example.tree["alerting"]
    written["receivers"][1]["pagerduty"]["routing_key"] = "k" * 32
    written["receivers"][2]["webhook"].pop("bearer_token")
    written["receivers"][3]["alertmanager"].pop("bearer_token")
    secrets = {"slack": "https://hooks.example.com/x", "apprise": "ntfy://topic"}
    for receiver in written["receivers"]:
        for kind in set(secrets) & set(receiver):
            receiver[kind]["url"] = secrets[kind]
    written["heartbeat"]["url"] = "https://hc.example.com/x"

    alerting = AlertingSettings.model_validate(written, context=Written(EXAMPLE.parent), by_alias=True)

    assert {kind for one in alerting.receivers for kind in RECEIVER_KINDS if getattr(one, kind)} == set(
        RECEIVER_KINDS
    )
    assert list(problems_between({"clusters": [{"peers": ["http://a"]}], "alerting": written})) == []


def test_what_the_example_writes_of_backups_and_jobs_is_valid_too(whole_example: Document) -> None:
    """A store, a job by cron and one by interval: who takes a # away has it right."""
    tree = whole_example.tree
    tree["backup"]["store"]["s3"]["secret_access_key"] = "hidden"
    context = Written(EXAMPLE.parent)

    backup = BackupSettings.model_validate(tree["backup"], context=context, by_alias=True)
    jobs = [JobSettings.model_validate(job, context=context, by_alias=True) for job in tree["jobs"]]

    assert backup.store is not None
    assert {job.kind for job in jobs} == {"backup", "vacuum", "verify"}
    clusters = [{"peers": ["http://a"]}]
    assert (
        list(problems_between({"clusters": clusters, **{key: tree[key] for key in ("backup", "jobs")}})) == []
    )
