"""Structured logging: one line an event, JSON unless stderr is a terminal, secrets out.

Modules ask `get_logger` once and log a constant event with fields:
`log.info("reload.finished", clusters=2)`. Lines of libraries that use the standard
library's logging come out the same way. Only `configure` changes anything global.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, MutableMapping
from html import escape
from typing import Any, TextIO, cast
from urllib.parse import quote

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

HIDDEN = "<secret>"

# Ours to name; a secret that is the word "info" must not eat the level of every line.
_OWN_FIELDS = ("timestamp", "level")


def spellings_of(secret: str) -> frozenset[str]:
    """Return how a text may show a secret: as it is, and as JSON, repr, URLs and HTML escape it."""
    plain = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    in_urls = {quote(secret), quote(secret, safe="")}
    return frozenset((plain | in_urls | set(map(escape, plain))) - {""})


class Redactor:
    """A structlog processor that takes known secrets out of every field of every line.

    The last line of defence: secrets are not logged in the first place. Belongs to the
    composition root, which tells it the secrets again after each reload; old ones stay,
    because work that began with them may still log.
    """

    def __init__(self) -> None:
        self._secrets: tuple[str, ...] = ()

    def hide(self, secrets: Iterable[str]) -> None:
        """Hide these too, in every spelling."""
        known = set(self._secrets).union(*map(spellings_of, secrets))
        # longest first: one secret may be the beginning of another
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {
            self._cleaned_text(key): value if key in _OWN_FIELDS else self._cleaned(value)
            for key, value in event.items()
        }

    def _cleaned(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self._cleaned_text(value)
        if isinstance(value, Mapping):
            return {self._cleaned_text(str(key)): self._cleaned(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._cleaned(inner) for inner in value]
        return self._cleaned_text(str(value) if isinstance(value, BaseException) else repr(value))

    def _cleaned_text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def get_logger() -> FilteringBoundLogger:
    """Return a logger for a module; it follows whatever `configure` says later."""
    return cast(FilteringBoundLogger, structlog.get_logger())


def configure(*, level: str, format: str, redactor: Redactor, stream: TextIO | None = None) -> None:
    """Send log lines of this level and above to the stream, by default stderr.

    `level` is one of LEVELS; `format` is auto, json or console. Safe to call again after a
    reload. Libraries speak from warning on, and in full at level debug.
    """
    stream = sys.stderr if stream is None else stream
    is_console = format == "console" or (format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    finish: list[Processor] = [
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redactor,
        _renderer(is_console=is_console, colors=is_console and stream.isatty()),
    ]
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,  # a reload may change the level
    )
    _take_over_libraries(LEVELS[level], shared, finish, stream)


def _renderer(*, is_console: bool, colors: bool) -> Processor:
    if is_console:
        return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer()


def _take_over_libraries(
    level: int, shared: list[Processor], finish: list[Processor], stream: TextIO
) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level if level == logging.DEBUG else max(level, logging.WARNING))
