"""The log: one JSON line an event, levels, and no secret in any field."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from exporter import logs
from exporter.config.secret import Secret

KEY = "pa55\"of/the'test"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Put the process's logging back: configure changes it for everybody."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def _configured(level: str = "info", format: str = "json", *secrets: str) -> io.StringIO:
    stream, redactor = io.StringIO(), logs.Redactor()
    redactor.hide(secrets)
    logs.configure(level=level, format=format, redactor=redactor, stream=stream)
    return stream


def test_an_event_is_one_json_line_with_its_fields() -> None:
    """Names are constant, everything variable is a field."""
    stream = _configured()

    logs.get_logger().info("poll.finished", peer="a:6333", took_seconds=0.25)

    (line,) = _lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "poll.finished", "level": "info", "peer": "a:6333", "took_seconds": 0.25}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["a.debug", "a.info", "a.warning", "a.error"]),
        ("info", ["a.info", "a.warning", "a.error"]),
        ("warn", ["a.warning", "a.error"]),
        ("error", ["a.error"]),
    ],
)
def test_a_level_shows_itself_and_what_is_worse(level: str, expected: list[str]) -> None:
    """The names are those of Prometheus's flags."""
    stream = _configured(level)

    log = logs.get_logger()
    log.debug("a.debug")
    log.info("a.info")
    log.warning("a.warning")
    log.error("a.error")

    assert [line["event"] for line in _lines(stream)] == expected


def test_a_logger_from_before_follows_a_new_level() -> None:
    """Modules take their logger at import; a reload may change the level."""
    log = logs.get_logger()
    _configured("error")
    log.info("not.shown")

    stream = _configured("info")
    log.info("is.shown")

    assert [line["event"] for line in _lines(stream)] == ["is.shown"]


def test_auto_is_json_unless_the_stream_is_a_terminal() -> None:
    """People get columns, machines get JSON."""
    streams = [io.StringIO(), Terminal()]
    for stream in streams:
        logs.configure(level="info", format="auto", redactor=logs.Redactor(), stream=stream)
        logs.get_logger().info("daemon.started")

    assert _lines(streams[0])[0]["event"] == "daemon.started"
    assert "daemon.started" in streams[1].getvalue()
    assert not streams[1].getvalue().startswith("{")


def test_console_without_a_terminal_has_no_colour() -> None:
    """Escape codes in a file help nobody."""
    stream = _configured("info", "console")

    logs.get_logger().error("daemon.failed", reason="x")

    assert "daemon.failed" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_secret_is_hidden_in_every_field(format: str) -> None:
    """In text, nested values, keys, errors, tracebacks, and escaped as a URL, JSON or repr has it."""
    stream = _configured("info", format, KEY, "plain-secret")
    log = logs.get_logger()

    log.info(
        f"x {KEY}", a=KEY, b=[f"{KEY}!", {KEY: (KEY,)}], c={KEY}, d=ValueError(KEY), e=object, **{KEY: 1}
    )
    log.info("escaped", a="pa55%22of%2Fthe%27test", b=json.dumps(KEY), c=repr(KEY + "\n"), d=Secret(KEY))
    try:
        int(KEY)
    except ValueError:
        log.exception("failed")
    logging.getLogger("library").error("plain %s", "plain-secret")

    shown = stream.getvalue()
    assert "pa55" not in shown
    assert "plain-secret" not in shown
    assert shown.count("<secret>") >= 12


def test_hiding_leaves_numbers_levels_and_times_alone() -> None:
    """A short secret must not make the log unreadable for machines."""
    stream = _configured("info", "json", "info", "1", "Z")

    logs.get_logger().info("x", count=1, ratio=1.5, ok=True, nothing=None)

    (line,) = _lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "x", "level": "info", "count": 1, "ratio": 1.5, "ok": True, "nothing": None}


def test_secrets_told_later_are_hidden_beside_the_earlier_ones() -> None:
    """After a reload, work that began with the old key may still log."""
    redactor, stream = logs.Redactor(), io.StringIO()
    logs.configure(level="info", format="json", redactor=redactor, stream=stream)
    redactor.hide(["old-key", ""])
    redactor.hide(["old-key-2"])

    logs.get_logger().info("x", a="old-key", b="old-key-2", c="")

    (line,) = _lines(stream)
    assert (line["a"], line["b"], line["c"]) == ("<secret>", "<secret>", "")


def test_libraries_log_the_same_way_from_warning_on() -> None:
    """uvicorn and aiohttp use the standard library's logging; their chatter is for debug."""
    stream = _configured("info")
    library = logging.getLogger("some.library")

    library.info("chatter")
    library.warning("slow %s", "client")
    debugged = _configured("debug")
    library.debug("detail")

    (line,) = _lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("slow client", "warning", "some.library")
    assert [line["event"] for line in _lines(debugged)] == ["detail"]
