"""The verbs of alerting as people type them: options, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from exporter.cli import app
from exporter.clock import SystemClock
from tests.kit.daemons import run_command
from tests.unit.alert_verbs.stored_alerts import alert, ended, store
from tests.unit.alerting.receivers.services import Service
from tests.unit.duty.test_rules_in_force import OWN

CLOCK = SystemClock()
BAD_ALERTING = """clusters: [{peers: [http://qdrant-0]}]
alerting:
  receivers: [{name: ops, webhook: {url: 'https://h/s3cret'}}]
  rules:
    PeerDown: {levels: {warning: {for: 1m}}}
    PeerDwon: {enabled: false}
"""


def invoke(*arguments: str, **environment: str) -> Result:
    """Run a verb in this process, to its end: for what starts no log, which would outlive it here."""
    return CliRunner().invoke(app, arguments, env=environment, prog_name="qdrant-exporter")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A daemon's state with an alert that fires and one that ended."""
    now = CLOCK.now()
    store(tmp_path / "state", clock=CLOCK, alerts=[alert("a", now)], history=[ended("b", now)])
    return tmp_path / "state"


def test_alerts_are_read_from_the_state_however_that_is_named(directory: Path, tmp_path: Path) -> None:
    """By option, by variable, or by the daemon's configuration file."""
    config = tmp_path / "config.yaml"
    config.write_text(f"clusters: [{{peers: [http://a]}}]\nstate: {{dir: {directory}}}\n", encoding="utf-8")

    by_option = invoke("alerts", f"--state.dir={directory}", "--output=json", "--history=1")
    by_variable = invoke("alerts", "--output=json", QDRANT_EXPORTER_STATE_DIR=str(directory))
    by_file = invoke("alerts", f"--config.file={config}", "--output=json")

    data = json.loads(by_option.stdout)["data"]
    assert [one["labels"]["peer"] for one in data["alerts"]] == ["a"]
    assert len(data["history"]) == 1
    assert json.loads(by_variable.stdout) == json.loads(by_file.stdout)
    assert (by_option.exit_code, by_variable.exit_code, by_file.exit_code) == (0, 0, 0)


@pytest.mark.parametrize(
    "verb", [("alerts",), ("silence", "list"), ("silence", "expire", "x"),
             ("silence", "add", "a=b", "--for=1h", "--comment=x")],
)  # fmt: skip
def test_verbs_on_the_state_say_what_to_give_and_where_none_was_kept(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    """Exit code 2 for what was not given, 1 for what is not there."""
    nothing = invoke(*verb)
    empty = invoke(*verb, f"--state.dir={tmp_path}")

    assert (nothing.exit_code, nothing.stderr) == (
        2, "give --state.dir: it is where the daemon keeps alerts and silences\n",
    )  # fmt: skip
    assert empty.exit_code == 1
    assert "give the --state.dir of the daemon" in empty.stderr


def test_a_silence_goes_in_and_out(directory: Path) -> None:
    """Its author is who typed it, unless another is named."""
    state = f"--state.dir={directory}"

    added = invoke("silence", "add", "peer=a", "--for", "2h", "--comment", "new disk", state)
    (listed,) = json.loads(invoke("silence", "list", "--output=json", state).stdout)
    named = invoke("silence", "add", "peer=b", "--for=1h", "--comment=x", "--author=ann", state)
    over = invoke("silence", "expire", listed["id"][:8], state)

    assert (added.exit_code, named.exit_code) == (0, 0)
    assert listed["createdBy"]
    assert over.stdout == f"silence {listed['id']} is over\n"
    (left,) = json.loads(invoke("silence", "list", "--output=json", state).stdout)
    assert left["createdBy"] == "ann"
    assert len(json.loads(invoke("silence", "list", "--all", "--output=json", state).stdout)) == 2


def test_a_silence_that_was_typed_wrong_is_explained_whole(directory: Path) -> None:
    """Exit code 2, a line for each problem."""
    done = invoke("silence", "add", "peer", "--for=10s", "--comment= ", f"--state.dir={directory}")

    assert done.exit_code == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["MATCHER", "--comment", "--for"]


async def test_rules_are_listed_with_and_without_a_configuration() -> None:
    """The flags of `run` say which deployment is meant."""
    alone, beside = invoke("rules", "list"), await run_command("rules", "list", "--qdrant.url=http://a")

    assert (alone.exit_code, beside.returncode) == (0, 0)
    assert "blind" not in alone.stdout.splitlines()[3]
    assert "the write canary is off" in beside.stdout


def test_rules_check_explains_a_bad_file_and_passes_a_good_one(tmp_path: Path) -> None:
    """Exit code 2 as for every mistake in a file."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(OWN, encoding="utf-8")
    bad.write_text(OWN.replace("op:", "opp:"), encoding="utf-8")

    passed, refused = invoke("rules", "check", str(good)), invoke("rules", "check", str(good), str(bad))

    assert (passed.exit_code, passed.stdout) == (0, f"{good}: good; rules: TooManyCollections\n")
    assert refused.exit_code == 2
    assert f"{bad}:4: rules.0.opp: there is no such key; did you mean op?\n" in refused.stderr


def test_rules_export_writes_files_and_names_them(tmp_path: Path) -> None:
    """One a line, for a script."""
    done = invoke("rules", "export", f"--dir={tmp_path}/out")

    written = [Path(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert {path.name for path in written} >= {"peers.yaml", "exporter.yaml"}
    assert all(path.is_file() for path in written)


def test_rules_export_into_what_is_no_directory_says_so(tmp_path: Path) -> None:
    """One sentence, no traceback."""
    (tmp_path / "file").touch()

    done = invoke("rules", "export", f"--dir={tmp_path}/file/x")

    assert (done.exit_code, done.stderr) == (1, f"--dir: {tmp_path}/file/x: Not a directory\n")


def test_check_tells_what_is_wrong_with_the_rules_too(tmp_path: Path) -> None:
    """`check` must not say that all is well and `run` refuse to start."""
    file = tmp_path / "config.yaml"
    file.write_text(BAD_ALERTING, encoding="utf-8")

    done = invoke("check", str(file))

    assert done.exit_code == 2
    assert [line.removeprefix(f"{file}:").split(": ")[:2] for line in done.stderr.splitlines()] == [
        ["5", "alerting.rules.PeerDown.levels.warning"], ["6", "alerting.rules.PeerDwon"],
    ]  # fmt: skip
    assert "s3cret" not in done.stderr


def test_check_of_a_file_with_receivers_says_how_many_rules_and_whom_they_tell(tmp_path: Path) -> None:
    """So that one sees that alerting is on."""
    file = tmp_path / "config.yaml"
    file.write_text("\n".join(BAD_ALERTING.splitlines()[:3]), encoding="utf-8")

    done = invoke("check", str(file))

    assert done.exit_code == 0
    assert done.stdout.startswith(f"{file}: good; clusters: default; rules: ")
    assert done.stdout.endswith("; receivers: ops\n")


async def test_a_drill_goes_through_the_receiver_that_the_flag_makes() -> None:
    """`alerts test webhook` with what `run` is started with; the URL may come from the environment."""
    async with Service() as service:
        done = await run_command(
            "alerts", "test", "webhook", "--qdrant.url=http://127.0.0.1:1", "--severity=info",
            more_environment={"QDRANT_EXPORTER_ALERT_WEBHOOK": f"{service.url}/s3cret"},
        )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "webhook: the drill begins: delivered (200)", "webhook: the drill ends: delivered (200)",
    ]  # fmt: skip
    assert len(service.posted) == 2


async def test_a_drill_that_is_typed_wrong_is_explained() -> None:
    """Receiver, severity and duration, before anything is sent."""
    here = ("--qdrant.url=http://127.0.0.1:1", "--alert.webhook=http://127.0.0.1:1/s3cret")

    unknown = await run_command("alerts", "test", "pager", *here)
    severity = invoke("alerts", "test", "webhook", "--severity=bad", *here)
    hold = invoke("alerts", "test", "webhook", "--hold=5", *here)

    assert unknown.stderr == "RECEIVER: there is no receiver pager; known are: webhook\n"
    assert severity.stderr == "--severity: there is no 'bad'; write critical, error, warning or info\n"
    assert hold.stderr == "--hold: write a duration with its unit, for example 30s, 5m or 1h30m\n"
    assert {unknown.returncode, severity.exit_code, hold.exit_code} == {2}


async def test_rules_test_looks_at_the_deployment_and_exits_1_where_a_rule_is_true() -> None:
    """A peer that does not answer is enough."""
    done = await run_command("rules", "test", "--qdrant.url=http://127.0.0.1:1", "--output=json")

    assert done.returncode == 1
    assert "PeerDown" in {one["rule"] for one in json.loads(done.stdout)["true"]}
