"""What a wheel carries: the package, and the rules that come with it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = directory.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(directory / "unpacked")
    return directory / "unpacked"


def test_a_wheel_carries_every_rule_runbook_and_preset(wheel: Path) -> None:
    """Without them `pip install` would make a daemon that never alerts."""
    for kind in ("rules", "runbooks", "presets"):
        carried = {path.name for path in (wheel / "exporter" / "pack" / kind).iterdir()}

        assert carried == {path.name for path in (ROOT / "alerts" / kind).iterdir()}
        assert carried


def test_an_installed_program_reads_the_rules_that_it_carries(wheel: Path) -> None:
    """Not those of a checkout, which is not there."""
    code = (
        "from exporter.alerting.rules.shipped import pack;"
        "from exporter.config.alerting import AlertingSettings;"
        "from exporter.duty.rules_in_force import rules_in_force;"
        "print(pack(), len(rules_in_force(AlertingSettings()).rules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=wheel, check=True, capture_output=True, text=True)

    place, count = done.stdout.split()
    assert Path(place) == wheel / "exporter" / "pack"
    assert int(count) > 30


def test_mute_times_know_time_zones_on_a_machine_that_has_none() -> None:
    """A container without the system's zone files must not refuse `location: Europe/Berlin`."""
    code = "from exporter.config.time_windows import time_zone; print(time_zone('Europe/Berlin'))"
    bare = {**os.environ, "PYTHONTZPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=bare, check=True, capture_output=True, text=True
    )

    assert done.stdout == "Europe/Berlin\n"
