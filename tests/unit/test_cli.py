"""The command line as people meet it: real processes, their output and their exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from exporter import __version__
from exporter.cli import app
from exporter.config.flags import FLAGS
from exporter.state import StateLock
from tests.kit.daemons import COMMAND, RunningDaemon, environment, run_command
from tests.kit.replay import ReplayServer, replies_of

# Each takes tens of milliseconds to import, and none is needed to read the command line.
HEAVY = ("aiohttp", "bcrypt", "msgspec", "prometheus_client", "pydantic", "qdrant_client", "qdrant_edge",
         "rich", "starlette", "structlog", "uvicorn", "yaml")  # fmt: skip

BAD_FILE = """clusters:
  - name: shop
    peers: [ftp://qdrant-0]
    poll: {fast: 5}
  - name: shop
    peers: [http://qdrant-1]
    apikey: x
"""
DOUBTFUL_FILE = """clusters:
  - name: shop
    peers: [http://qdrant-0]
    api_key: sesame
"""


def invoke(*arguments: str, environment: Mapping[str, str] | None = None) -> Result:
    """Run a verb in this process, to its end: for what ends before anything is started."""
    return CliRunner().invoke(app, arguments, env=environment, prog_name="qdrant-exporter")


def test_reading_the_command_line_imports_nothing_heavy() -> None:
    """--help and completion answer at once because of it."""
    code = f"import sys, exporter.cli; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


@pytest.mark.parametrize("verb", ["run", "once"])
def test_every_flag_of_the_table_is_an_option_of_the_verb(verb: str) -> None:
    """The table is also what the documents and the environment variables are made of."""
    command = typer.main.get_group(app).commands[verb]
    options = {option for parameter in command.params for option in parameter.opts}

    assert {flag.option for flag in FLAGS} <= options


def test_version_says_which_exporter_this_is() -> None:
    """The same as the metric qdrantx_build_info."""
    done = invoke("--version")

    assert (done.exit_code, done.stdout) == (0, f"qdrant-exporter {__version__}\n")


def test_help_names_the_environment_variable_of_each_flag() -> None:
    """Containers are configured by variables; nobody should have to guess their names."""
    done = invoke("run", "--help")

    assert done.exit_code == 0
    words = "".join(done.stdout.split())
    assert all(flag.variable in words for flag in FLAGS)


def test_catalog_prints_sources_and_metrics_as_markdown() -> None:
    """The README's tables are made of it."""
    done = invoke("catalog")

    assert done.exit_code == 0
    assert "| source | asks |" in done.stdout
    assert "| `qdrantx_up` | gauge |" in done.stdout


def test_check_tells_all_problems_of_a_file_at_once_with_line_and_path(tmp_path: Path) -> None:
    """Nobody should mend a file one error at a time."""
    file = tmp_path / "config.yaml"
    file.write_text(BAD_FILE, encoding="utf-8")

    done = invoke("check", str(file))

    places = [line.removeprefix(f"{file}:").split(": ")[:2] for line in done.stderr.splitlines()]
    assert places == [
        ["3", "clusters.0.peers.0.url"],
        ["4", "clusters.0.poll.fast"],
        ["5", "clusters.1.name"],
        ["7", "clusters.1.apikey"],
    ]
    assert "did you mean api_key?" in done.stderr
    assert (done.exit_code, done.stdout) == (2, "")


def test_check_tells_what_is_wrong_with_rules_beside_the_rest(tmp_path: Path) -> None:
    """Also where another section keeps the configuration from being used at all."""
    file = tmp_path / "config.yaml"
    file.write_text(
        "clusters:\n  - {peers: [ftp://a]}\nalerting:\n  rules:\n    PeerDwon: {enabled: false}\n",
        encoding="utf-8",
    )

    done = invoke("check", str(file))

    places = [line.removeprefix(f"{file}:").split(": ")[:2] for line in done.stderr.splitlines()]
    assert places == [["2", "clusters.0.peers.0.url"], ["5", "alerting.rules.PeerDwon"]]
    assert done.exit_code == 2


def test_check_of_a_good_file_names_its_clusters_and_warns_of_what_is_doubtful(tmp_path: Path) -> None:
    """A key over plain http works, and should not stay so."""
    file = tmp_path / "config.yaml"
    file.write_text(DOUBTFUL_FILE, encoding="utf-8")

    done = invoke("check", str(file))

    assert (done.exit_code, done.stdout) == (0, f"{file}: good; clusters: shop\n")
    assert done.stderr.startswith(
        f"{file}: warning: clusters.0.api_key: goes over plain http to qdrant-0:6333"
    )
    assert "sesame" not in done.stderr


def test_check_of_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    """One sentence, no traceback."""
    done = invoke("check", str(tmp_path / "missing.yaml"))

    assert done.exit_code == 2
    assert done.stderr == f"{tmp_path}/missing.yaml: the file cannot be read: No such file or directory\n"


def test_run_with_nothing_says_what_to_give() -> None:
    """The first thing a person types."""
    done = invoke("run")

    assert done.exit_code == 2
    assert "--qdrant.url" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_bad_flags_are_told_all_at_once_under_their_own_names() -> None:
    """A flag is named as typed, a variable as set."""
    done = invoke(
        "run",
        "--qdrant.url=localhost",
        "--web.listen-address=80",
        "--log.level=loud",
        environment={"QDRANT_EXPORTER_LOG_FORMAT": "xml"},
    )

    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 4
    for name in ("--qdrant.url", "--web.listen-address", "--log.level", "QDRANT_EXPORTER_LOG_FORMAT"):
        assert f"{name}: " in done.stderr


def test_an_unknown_flag_is_refused_with_exit_code_2() -> None:
    """Told by the parser itself, without a traceback."""
    done = invoke("run", "--qdrant.ur=http://localhost")

    assert done.exit_code == 2
    assert "No such option: --qdrant.ur" in done.stderr


async def test_a_taken_port_ends_run_with_what_to_do() -> None:
    """The usual mistake: a second daemon on the same port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = await run_command(
            "run", "--qdrant.url=http://127.0.0.1:1", f"--web.listen-address=127.0.0.1:{port}"
        )

    assert done.returncode == 1
    assert f"port {port} is taken; stop what listens there" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_state_directory_in_use_ends_run_naming_the_process_that_has_it(tmp_path: Path) -> None:
    """Two daemons on one directory would overwrite each other's memory."""
    with StateLock(directory=tmp_path):
        done = await run_command(
            "run",
            "--qdrant.url=http://127.0.0.1:1",
            "--web.listen-address=127.0.0.1:0",
            f"--state.dir={tmp_path}",
        )

    assert done.returncode == 2
    assert f"{tmp_path} is in use by another qdrant-exporter run (pid {os.getpid()})" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_output_form_that_does_not_exist_is_refused_with_those_that_do() -> None:
    """Before anybody is polled."""
    done = invoke("once", "--qdrant.url=http://127.0.0.1:1", "--output=xml")

    assert done.exit_code == 2
    assert done.stderr == "--output: there is no 'xml'; write table, json or prometheus\n"


async def test_a_broken_web_file_is_a_configuration_error(tmp_path: Path) -> None:
    """Exit code 2, like every other mistake in a file."""
    web = tmp_path / "web.yaml"
    web.write_text("tls_server_config: {cert_file: nowhere.pem}\n", encoding="utf-8")
    done = await run_command("run", "--qdrant.url=http://127.0.0.1:1", f"--web.config.file={web}")

    assert done.returncode == 2
    assert "cert_file" in done.stderr


async def test_the_daemons_log_is_json_when_nobody_reads_it_on_a_terminal(tmp_path: Path) -> None:
    """Each line an object with time, level and event."""
    async with RunningDaemon(tmp_path, "--qdrant.url=http://127.0.0.1:1") as daemon:
        await daemon.stop()
        lines = [json.loads(line) for line in daemon.log.splitlines()]

    assert {"timestamp", "level", "event"} <= set.intersection(*(set(line) for line in lines))
    assert [line["event"] for line in lines if line["event"].startswith("daemon.")] == [
        "daemon.started", "daemon.stopping",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", [("catalog",), ("once", "--output=prometheus", "--qdrant.url={url}")])
async def test_a_reader_that_leaves_early_gets_no_traceback_and_no_complaint(verb: tuple[str, ...]) -> None:
    """As in `qdrant-exporter catalog | head -1`."""
    async with ReplayServer(answer=replies_of("v1.18.3/single/green")) as server:
        arguments = [part.replace("{url}", server.url) for part in verb]
        reading, writing = os.pipe()
        os.close(reading)
        try:
            done = await asyncio.to_thread(
                subprocess.run,
                [*COMMAND, *arguments],
                stdout=writing,
                stderr=subprocess.PIPE,
                env=environment(),
                check=False,
            )
        finally:
            os.close(writing)

    assert done.stderr == b""


async def test_demo_and_embedded_say_what_to_install_where_the_engine_is_missing() -> None:
    """The engine is an extra: whoever only watches does not need it."""
    hide = "import sys; sys.modules['qdrant_edge'] = None; from exporter.cli import main; main()"
    for verb in ("demo", "embedded"):
        done = subprocess.run(
            [sys.executable, "-c", hide, verb], capture_output=True, text=True, env=environment(), check=False
        )

        assert done.returncode == 1
        assert done.stderr == "this needs the extra demo: pip install 'qdrant-exporter[demo]'\n"
