"""From what a person wrote to Settings, or to all that is wrong with it at once."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from exporter.config.alerting import AlertingSettings
from exporter.config.alerting_checks import repeated_addresses
from exporter.config.checks import problems_between
from exporter.config.document import Document, read_document
from exporter.config.flags import CONFIG_FILE
from exporter.config.overlay import Overlay, given
from exporter.config.problems import WRITE_KEYS, KeyPath, Origin, ProblemList, explained
from exporter.config.settings import Settings
from exporter.config.variables import expand
from exporter.config.web_file import load_web_file
from exporter.config.written import Written
from exporter.errors import ConfigError, Problem


def load(
    file: Path | None,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    needs_cluster: bool = True,
) -> Settings:
    """Return the settings of file, environment and flags; the later win.

    `flags` is keyed by `Flag.name`; None, False and empty lists mean not given. Without
    `file`, --config.file or its variable names it. Relative paths start at the file's
    directory, those of flags and variables where the command runs. Reads the files that the
    settings name; opens no connection. Raises ConfigError with every problem; that nothing is
    watched is none where the caller needs no cluster.
    """
    file = file or _file_given(flags, environment)
    if file is None:
        document: Document | None = None
        tree: Any = {}
        origins: dict[KeyPath, Origin] = {}
        problems = ProblemList(origins=origins)
    else:
        document = read_document(file, expand=partial(expand, environment=environment))
        tree, origins, problems = document.tree, document.origins, document.problems
        if document.broken:
            raise ConfigError(problems.told())
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        problems.add((), WRITE_KEYS)
        raise ConfigError(problems.told())
    Overlay(
        flags=flags,
        environment=environment,
        origins=origins,
        problems=problems,
        needs_cluster=needs_cluster,
    ).lay_over(tree)
    return _validated(tree, problems, Written(file.absolute().parent if file else Path.cwd()))


def load_alerting_alone(file: Path, environment: Mapping[str, str]) -> AlertingSettings | None:
    """Return the alerting of a file whose other sections may be wrong; None where it is itself.

    For the rules that it names: what is wrong with them need not wait until the rest is mended.
    """
    tree = read_document(file, expand=partial(expand, environment=environment)).tree
    alerting = tree.get("alerting") if isinstance(tree, dict) else None
    try:
        return AlertingSettings.model_validate(
            {} if alerting is None else alerting,
            context=Written(file.absolute().parent),
            by_alias=True,
            by_name=False,
        )
    except ValidationError:
        return None


def _file_given(flags: Mapping[str, Any], environment: Mapping[str, str]) -> Path | None:
    value = given(CONFIG_FILE, flags, environment)
    return Path(value.value) if value is not None else None


def _validated(tree: dict[str, Any], problems: ProblemList, written: Written) -> Settings:
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(tree, context=written, by_alias=True, by_name=False)
    except ValidationError as error:
        for path, message in explained(error, Settings):
            problems.add_consequence(path, message)
    for path, message in problems_between(tree):
        problems.add(path, message)
    for path, message in repeated_addresses(settings.alerting) if settings is not None else ():
        problems.add_consequence(path, message)
    told = (*problems.told(), *_problems_of_web_file(tree, written))
    if settings is None or told:
        raise ConfigError(told)
    return settings


def _problems_of_web_file(tree: dict[str, Any], written: Written) -> tuple[Problem, ...]:
    web = tree.get("web")
    path = web.get("config_file") if isinstance(web, dict) else None
    if not isinstance(path, str):
        return ()
    try:
        if (written.directory / path).is_file():
            load_web_file(written.directory / path)
    except ConfigError as error:
        return error.problems
    except OSError:  # no name of a file, which the models say
        return ()
    return ()
