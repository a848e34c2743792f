"""One look at everything: what it prints, what it exits with, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from exporter.clock import SystemClock
from exporter.config.clusters import ClusterSettings, DiscoverySettings, PollSettings
from exporter.config.settings import Settings, StateSettings
from exporter.once import Output, once
from exporter.state import KnownPeer, KnownPeerChanges, State
from tests.kit import scripted
from tests.kit.daemons import run_command
from tests.kit.derivation import PEER_IDS
from tests.kit.recordings import recording
from tests.kit.replay import SILENCE, ReplayServer, Reply, replies_of
from tests.kit.scripted import ScriptedCluster, free_port
from tests.kit.watching import cluster_of

POLL = PollSettings(
    fast_seconds=15.0,
    medium_seconds=60.0,
    slow_seconds=600.0,
    deadline_seconds=10.0,
    fanout_deadline_seconds=5.0,
)
# For peers that never answer.
HASTY = POLL.model_copy(update={"deadline_seconds": 1.0, "fanout_deadline_seconds": 0.5})
STANDALONE = "v1.18.3/single/green"


async def look(
    *clusters: ClusterSettings, output: Output = Output.TABLE, state_dir: Path | None = None
) -> tuple[int, str]:
    """Look once and return exit code and output, as written where there is no terminal."""
    settings = Settings.model_construct(clusters=clusters, state=StateSettings(dir=state_dir))
    written = io.StringIO()
    code = await once(settings, output, Console(file=written, width=400))
    return code, written.getvalue()


def quiet_cluster(*urls: str, poll: PollSettings = POLL, **options: Any) -> ClusterSettings:
    return cluster_of(*urls, poll=poll, **options)


def all_but(broken: dict[str, Reply]) -> Callable[[str], Reply]:
    """Answer as the standalone server did, except on some paths."""
    good = replies_of(STANDALONE)
    return lambda target: broken.get(target.partition("?")[0]) or good(target)


async def test_a_good_look_shows_every_collection_and_exits_0() -> None:
    """One row a collection, with what a person looks for first."""
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        code, table = await look(quiet_cluster(server.url))

    rows = {row.split()[1]: row.split()[3:] for row in table.splitlines() if row.startswith("│")}
    assert code == 0
    assert rows[server.url.removeprefix("http://")][:3] == ["yes", "│", "1.18.3"]
    assert rows["docs"][0] == "green"
    assert "\x1b" not in table


async def test_a_look_leaves_no_task_and_no_socket_behind(scripted_cluster: ScriptedCluster) -> None:
    """Also with a peer that accepts and never answers."""
    before = len(os.listdir("/proc/self/fd")), asyncio.all_tasks()
    await scripted_cluster.play(scripted.PEER_1_FROZEN)

    code, _ = await look(quiet_cluster(*scripted_cluster.urls, poll=HASTY))

    assert code == 1
    await scripted_cluster.stop()
    for _ in range(200):  # closed sockets leave the loop some turns later
        if len(os.listdir("/proc/self/fd")) <= before[0] and asyncio.all_tasks() <= before[1]:
            break
        await asyncio.sleep(0.01)
    assert (len(os.listdir("/proc/self/fd")) <= before[0], asyncio.all_tasks() - before[1]) == (True, set())


async def test_one_url_shows_the_whole_cluster() -> None:
    """The others are found in /cluster and polled in the same look."""
    async with ScriptedCluster(spread_hosts=True) as cluster:
        code, table = await look(quiet_cluster(cluster.urls[0]))

    assert code == 0
    for url in cluster.urls:
        assert url.removeprefix("http://") in table
    rows = {line.split()[1]: line for line in table.splitlines() if line.startswith("│")}
    assert "green" in rows["rf2"]
    assert rows["rf2"].endswith(" 12 of 12 │")
    assert "not watched" not in table


async def test_a_peer_that_is_down_shows_why_and_exits_1(scripted_cluster: ScriptedCluster) -> None:
    """The collections are shown as the living peers tell them."""
    await scripted_cluster.play(scripted.PEER_2_DEAD_FOR_9S)

    code, table = await look(quiet_cluster(*scripted_cluster.urls))

    dead = scripted_cluster.urls[2].removeprefix("http://")
    row = next(line for line in table.splitlines() if dead in line)
    assert code == 1
    assert " no " in row
    assert "unreachable: cannot connect: Connection refused" in row
    assert "unavailable" in table


@pytest.mark.usefixtures("patient_time")
async def test_a_peer_that_never_answers_holds_the_look_up_for_its_deadline_only() -> None:
    """A person waits at the terminal."""
    loop = asyncio.get_running_loop()
    async with ReplayServer(answer=lambda _: SILENCE) as server:
        began = loop.time()
        code, table = await look(quiet_cluster(server.url, poll=HASTY))

    assert code == 1
    assert "timeout: no whole answer within 1 s" in table
    assert loop.time() - began == pytest.approx(1.0 + 0.5)  # of its poll, and of who it is


async def test_peers_that_nobody_watches_are_named_with_what_to_do_and_exit_3() -> None:
    """What they hold is missing in every number above."""
    async with ScriptedCluster() as cluster:  # all on one host: discovery cannot tell them apart
        code, table = await look(quiet_cluster(cluster.urls[0]))
        ids = [cluster.peer_id(peer) for peer in (1, 2)]

    assert code == 3
    for peer_id in ids:
        line = next(line for line in table.splitlines() if line.startswith(f"peer {peer_id} "))
        assert "is not watched" in line
        assert "--qdrant.url" in line


async def test_two_standalone_servers_in_one_cluster_are_told_and_exit_3() -> None:
    """They are two deployments."""
    first = ReplayServer(answer=replies_of(STANDALONE))
    second = ReplayServer(answer=replies_of("v1.16.3/single/green"))
    async with first, second:
        code, table = await look(quiet_cluster(first.url, second.url))

    assert code == 3
    assert "standalone_servers: " in table
    assert "give each a cluster of its own under clusters:" in table


async def test_one_peer_under_two_urls_is_told_and_exits_3() -> None:
    """Its numbers would count twice."""
    async with ScriptedCluster(spread_hosts=True) as cluster:
        again = ReplayServer(answer=lambda target: cluster.servers[0]._answer(target))
        async with again:
            code, table = await look(quiet_cluster(cluster.urls[0], again.url))

    assert code == 3
    assert f"one_peer_twice: {cluster.urls[0]} and {again.url} lead to one peer" in table
    assert "remove the other URL" in table


async def test_a_load_balancer_is_told_and_exits_3(scripted_cluster: ScriptedCluster) -> None:
    """Each call reaches another peer; one look suffices where it shows."""
    turn = 0

    def next_peer(target: str) -> Reply:
        nonlocal turn
        turn += 1
        return scripted_cluster.servers[turn % 3]._answer(target)

    async with ReplayServer(answer=next_peer) as balancer:
        code, table = await look(quiet_cluster(balancer.url))

    assert code == 3
    assert f"load_balancer: {balancer.url} answers as several servers in turn" in table
    assert "give each peer's own URL" in table


async def test_a_source_that_fails_is_named_beside_its_peer_and_exits_3() -> None:
    """The rest of the look is shown all the same."""
    refused = Reply(500, b'{"status":{"error":"disk on fire"}}', {"content-type": "application/json"})
    async with ReplayServer(answer=all_but({"/aliases": refused})) as server:
        code, table = await look(quiet_cluster(server.url))

    assert code == 3
    assert "aliases: refused: /aliases: 500: disk on fire" in table
    assert "green" in table


async def test_a_server_without_collections_is_said_to_have_none() -> None:
    """An empty table would look like a failure."""
    async with ReplayServer(answer=replies_of("v1.18.3/single/empty")) as server:
        code, table = await look(quiet_cluster(server.url))

    assert code == 0
    assert "no collections" in table


async def test_a_collection_with_a_strange_name_takes_one_line_of_the_table() -> None:
    """Newlines, brackets that rich would read as markup, escapes, and 255 characters."""
    names = ["new\nline", "[red]not markup[/red]", "emoji 🦀", "\x1b[31mred", "per%41cent", "x" * 255]
    seen = recording("v1.18.3/single/green/telemetry_3").json
    kept = seen["result"]["collections"]["collections"]
    shape = next(one for one in kept if one["id"] == "docs")
    seen["result"]["collections"]["collections"] = [{**shape, "id": name} for name in names]
    body = Reply(200, json.dumps(seen).encode(), {"content-type": "application/json"})

    def answer(target: str) -> Reply:
        return body if "details_level=3" in target else replies_of(STANDALONE)(target)

    async with ReplayServer(answer=answer) as server:
        _, table = await look(quiet_cluster(server.url))
        _, document = await look(quiet_cluster(server.url), output=Output.JSON)

    rows = [line for line in table.splitlines() if " green " in line]
    assert len(rows) == len(names)
    for shown in (r"new\nline", "[red]not markup[/red]", "emoji 🦀", r"\x1b[31mred", "per%41cent", "x" * 255):
        assert any(f"│ {shown} " in row for row in rows), shown
    assert set(json.loads(document)["clusters"]["default"]["collections"]) == set(names)


async def test_what_a_server_says_cannot_move_the_cursor(scripted_cluster: ScriptedCluster) -> None:
    """A uri of /cluster is printed in a complaint, and is whatever the server sends."""

    def poison(payload: Any) -> None:
        payload["result"]["peers"][str(scripted_cluster.peer_id(1))]["uri"] = "http://\x1b[2J\nevil:6335/"

    scripted_cluster.edit(0, "/cluster", poison)
    _, table = await look(quiet_cluster(scripted_cluster.urls[0], discovery=DiscoverySettings(enabled=False)))

    assert "\x1b" not in table
    assert r"(http://\x1b[2J\nevil:6335/) is not watched" in table


async def test_json_has_peers_sources_collections_and_troubles(scripted_cluster: ScriptedCluster) -> None:
    """The same document as /api/v1/status."""
    await scripted_cluster.play(scripted.PEER_2_DEAD_FOR_9S)

    code, text = await look(quiet_cluster(*scripted_cluster.urls), output=Output.JSON)

    cluster = json.loads(text)["clusters"]["default"]
    labels = [url.removeprefix("http://") for url in scripted_cluster.urls]
    assert code == 1
    assert {label: peer["up"] for label, peer in cluster["peers"].items()} == dict(
        zip(labels, (True, True, False), strict=True)
    )
    assert cluster["peers"][labels[2]]["sources"]["telemetry"]["faults"][0]["kind"] == "unreachable"
    assert cluster["collections"]["rf1"]["status"] == "unavailable"
    assert cluster["peers_known"] == 3
    assert (cluster["unwatched"], cluster["troubles"]) == ([], [])


async def test_prometheus_output_is_the_page_that_a_scrape_would_get() -> None:
    """Read back by prometheus_client's parser."""
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        code, text = await look(quiet_cluster(server.url), output=Output.PROMETHEUS)

    values = {
        (sample.name, sample.labels.get("peer", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    label = server.url.removeprefix("http://")
    assert code == 0
    assert values["qdrantx_up", label] == 1
    assert ("qdrantx_build_info", "") in values


async def test_several_clusters_are_shown_one_after_the_other() -> None:
    """Each under its own name."""
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        dead = f"http://127.0.0.1:{free_port(('127.0.0.1',))}"
        shop = quiet_cluster(server.url).model_copy(update={"name": "shop"})
        archive = quiet_cluster(dead).model_copy(update={"name": "archive"})
        code, table = await look(shop, archive)

    assert code == 1
    assert table.index("cluster shop") < table.index("docs") < table.index("cluster archive")


async def test_a_dead_peer_that_a_daemon_remembers_is_shown(tmp_path: Path) -> None:
    """Without the state directory the look would not know that it is missing."""
    async with ScriptedCluster(spread_hosts=True, stage=scripted.PEER_2_DEAD_FOR_9S) as cluster:
        dead = cluster.urls[2]
        remember(tmp_path, dead, PEER_IDS["peer2"])
        code, table = await look(quiet_cluster(cluster.urls[0]), state_dir=tmp_path)

    assert code == 1
    assert dead.removeprefix("http://") in table


def remember(directory: Path, url: str, peer_id: int) -> None:
    """Leave what a daemon would have left of a discovered peer."""
    clock = SystemClock()
    label = url.removeprefix("http://")
    peer = KnownPeer("default", label, url, None, peer_id, "discovered", clock.now(), clock.now())
    state = State.open(directory, clock=clock)
    state.save(KnownPeerChanges("default", remember=(peer,)))
    state.close()


async def test_a_look_makes_no_state_directory(tmp_path: Path) -> None:
    """Made by root in passing, it would keep the daemon's own user out."""
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        code, _ = await look(quiet_cluster(server.url), state_dir=tmp_path / "state")

    assert code == 0
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("output", ["table", "json", "prometheus"])
async def test_the_command_prints_to_a_pipe_without_colours_and_whatever_its_encoding(output: str) -> None:
    """Latin-1 has no crab; the verb must not end for it."""

    def answer(target: str) -> Reply:
        reply = replies_of(STANDALONE)(target)
        body = reply.body.replace(b'"docs"', '"🦀"'.encode())
        return Reply(reply.status, body, reply.headers)

    async with ReplayServer(answer=answer) as server:
        done = await run_command(
            "once", f"--qdrant.url={server.url}", f"--output={output}",
            more_environment={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    if output == "json":
        assert "🦀" in json.loads(done.stdout)["clusters"]["default"]["collections"]
    elif output == "prometheus":
        assert 'collection="🦀"' in done.stdout
    else:
        assert "\\U0001f980" in done.stdout
