"""One look for the secrets in everything that people and programs get to see of the exporter."""

from __future__ import annotations

import html
import json
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.kit.daemons import RunningDaemon, eventually, run_command
from tests.kit.servers import Play, Wire, WireServer, reply

# What JSON, HTML, URLs and Python's repr each write in another way.
API_KEY = """key-7f"3\\9%2B<&>'+/x="""
TOKEN = """token-0a"c\\1%2F<&>'+/y="""


def shapes_of(secret: str) -> set[str]:
    """Return a secret as it may be written, to look for."""
    return {
        secret, json.dumps(secret)[1:-1], repr(secret)[1:-1], quote(secret), quote(secret, safe=""),
        html.escape(secret), html.escape(json.dumps(secret)[1:-1]),
        secret[:12], secret[-9:],
    }  # fmt: skip


def echoing(answer: Callable[[str], bytes]) -> Play:
    """Answer every request with what `answer` makes of the secret that came with it."""

    async def play(wire: Wire) -> None:
        while head := await wire.request():
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
            sent = {name.lower(): value for name, value in headers.items()}
            await wire.send(
                answer(sent.get("api-key") or sent.get("authorization", "").removeprefix("Bearer "))
            )

    return play


ECHOES: dict[str, Callable[[str], bytes]] = {
    "refusing": lambda secret: reply(401, f"Invalid API key {secret}".encode(), content_type="text/plain"),
    "failing": lambda secret: reply(500, json.dumps({"status": {"error": f"no {secret}"}}).encode()),
    "proxied": lambda secret: reply(502, json.dumps({"headers": [{"api-key": secret}]}).encode()),
    "paged": lambda secret: reply(403, f"<p>{html.escape(secret)}</p>".encode(), content_type="text/plain"),
    "moved": lambda secret: reply(302, b"", f"Location: http://{quote(secret, safe='')}.example/{secret}"),
    "babbling": lambda secret: reply(200, json.dumps({"result": secret}).encode()),
    "breaking": lambda secret: b"HTTP/1.1 " + secret.encode() + b"\r\n\r\n",
}


RULE = """\
rules:
  - name: NoAnswer
    metric: qdrantx_up
    op: "=="
    levels: {critical: {threshold: 0}}
    annotations: {summary: "{peer} does not answer", action: "look"}
"""
# A path that nobody but the receiver should know, and its token.
HOOK_PATH = "hook-5f%2Bc9e1"
HOOK_TOKEN = """hook"2d\\4%2B<&>'+/z="""
ALL = (API_KEY, TOKEN, HOOK_PATH, HOOK_TOKEN)


def configuration(servers: dict[str, WireServer], folder: Path, hook: WireServer) -> str:
    """Return a configuration in which every server is a cluster with a secret of either kind.

    And a receiver that is told at once that they do not answer.
    """
    poll = "{fast: 200ms, medium: 300ms, slow: 500ms, deadline: 1s, fanout_deadline: 500ms}"
    (folder / "rule.yaml").write_text(RULE, encoding="utf-8")
    lines = [
        "alerting:",
        "  rule_files: [rule.yaml]",
        "  receivers:",
        f"    - {{name: hook, webhook: {{url: '{hook.url}/{HOOK_PATH}', bearer_token: '${{HOOK_TOKEN}}'}}}}",
        "clusters:",
    ]
    for name, server in servers.items():
        kind = "bearer_token" if name in ("failing", "proxied") else "api_key"
        secret = json.dumps("${TOKEN}") if kind == "bearer_token" else f"{{file: {folder}/key}}"
        lines += [
            f"  - name: {name}",
            f"    peers: ['{server.url}']",
            f"    poll: {poll}",
            f"    {kind}: {secret}",
        ]
    return "\n".join(lines)


def assert_silent(where: str, text: str, secrets: Sequence[str] = ALL) -> None:
    """Fail where a secret shows, in any shape."""
    for secret in secrets:
        for shape in shapes_of(secret):
            assert shape.lower() not in text.lower(), f"{where} shows {shape!r}"


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, WireServer]]:
    """One server for every way to echo a secret."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(WireServer(echoing(answer)))
            for name, answer in ECHOES.items()
        }


@pytest.fixture
async def hook() -> AsyncIterator[WireServer]:
    """A receiver that never takes a message and echoes the secret."""
    async with WireServer(echoing(ECHOES["failing"])) as server:
        yield server


async def test_no_secret_shows_anywhere_whatever_the_servers_answer(
    servers: dict[str, WireServer], hook: WireServer, tmp_path: Path
) -> None:
    """Pages, status, configuration, metrics, the log at level debug, and what `once` and `check` print."""
    file = tmp_path / "config.yaml"
    (tmp_path / "key").write_text(f"{API_KEY}\n", encoding="utf-8")
    file.write_text(configuration(servers, tmp_path, hook), encoding="utf-8")
    environment = {"TOKEN": TOKEN, "HOOK_TOKEN": HOOK_TOKEN}
    verbs_environment = environment | {"QDRANT_EXPORTER_STATE_DIR": f"{tmp_path}/state"}

    daemon = RunningDaemon(
        tmp_path, f"--config.file={file}", "--web.enable-lifecycle", "--log.level=debug",
        f"--state.dir={tmp_path}/state", more_environment=environment,
    )  # fmt: skip
    async with daemon:
        await eventually(lambda: each_asked(servers, daemon), what="every server was asked")
        await eventually(lambda: told(hook), what="the receiver was told")
        pages = ("/", "/metrics", "/api/v1/status", "/api/v1/alerts", "/api/v1/rules", "/config")
        shown = {path: await daemon.text(path) for path in pages}
        worse = f"{configuration(servers, tmp_path, hook)}\n    api_key: {TOKEN[:5]} x"
        file.write_text(worse, encoding="utf-8")
        shown["a refused reload"] = (await daemon.reload()).body.decode()
        shown["the page after it"] = await daemon.text("/")
        file.write_text(configuration(servers, tmp_path, hook), encoding="utf-8")
        shown["a reload"] = (await daemon.reload()).body.decode()
    shown["the log"] = daemon.log
    verbs = [("check", str(file))] + [
        ("once", f"--config.file={file}", f"--output={form}", "--log.level=debug")
        for form in ("table", "json", "prometheus")
    ]
    verbs += [("alerts", "--history=9"), ("rules", "list", f"--config.file={file}")]
    verbs += [("alerts", "test", "hook", f"--config.file={file}", "--log.level=debug")]
    for verb in verbs:
        done = await run_command(*verb, more_environment=verbs_environment)
        shown[" ".join(verb)] = done.stdout + done.stderr
    kept = (path.read_bytes().decode("latin-1") for path in (tmp_path / "state").iterdir())

    for name, server in servers.items():
        secret = TOKEN if name in ("failing", "proxied") else API_KEY
        assert any(secret.encode() in request for request in server.requests), name
    assert "***" in shown["/api/v1/status"]  # the echoes were read, and blotted out
    assert "<secret>" in shown["/config"]
    for where, text in shown.items():
        assert_silent(where, text)
    # a receiver that left the configuration is owed resolves, and they need its secrets
    assert_silent("the state", "".join(kept), (API_KEY, TOKEN))
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()} == {0o600}


async def told(hook: WireServer) -> bool:
    """Tell whether the receiver was told twice: the first attempt was answered with the secret."""
    return len(hook.requests) >= 2


async def each_asked(servers: dict[str, WireServer], daemon: RunningDaemon) -> bool:
    """Tell whether every server was asked and every failure is known to the daemon."""
    status = (await daemon.get("/api/v1/status")).json()["clusters"]
    return all(
        peer["sources"]["telemetry"]["success"] is False
        for cluster in status.values()
        for peer in cluster["peers"].values()
    ) and all(cluster["peers"] for cluster in status.values())
