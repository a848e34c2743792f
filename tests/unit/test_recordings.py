"""The recordings can be read and hold nothing of the machine that made them."""

from __future__ import annotations

import re

import pytest

from tests.kit.recordings import RECORDINGS, recording, recordings_of, states

MACHINE_PATH = re.compile(r"/(?:tmp|root|home|work)/")
LARGEST_BYTES = 400_000  # what a person still opens in an editor


def test_a_recording_is_read_by_its_name() -> None:
    """Request, status, headers, time and body of one answer come back as recorded."""
    seen = recording("v1.18.3/single/green/telemetry_4")

    assert seen.path == "/telemetry?details_level=4"
    assert seen.status == 200
    assert seen.headers["content-type"] == "application/json"
    assert seen.json["result"]["app"]["version"] == "1.18.3"


def test_an_answer_without_json_keeps_its_text() -> None:
    """healthz is plain text, and its body is that text."""
    seen = recording("v1.18.3/single/empty/healthz")

    assert seen.json is None
    assert seen.body == b"healthz check passed"


def test_an_unknown_name_is_an_error() -> None:
    """A misspelt recording must not read as an empty answer."""
    with pytest.raises(FileNotFoundError):
        recording("v1.18.3/single/green/telemetry_9")


@pytest.mark.parametrize("state", states())
def test_every_recording_is_an_answer_and_names_no_machine_path(state: str) -> None:
    """Each file parses, has a status, is small, and leaks no path of where it was made."""
    for seen in recordings_of(state):
        path = RECORDINGS / f"{seen.name}.json"

        assert 200 <= seen.status < 600, seen.name
        assert path.stat().st_size <= LARGEST_BYTES, seen.name
        assert not MACHINE_PATH.search(path.read_text(encoding="utf-8")), seen.name
