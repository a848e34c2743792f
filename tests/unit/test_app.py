"""The daemon as a process: its start, its stop, its readiness, and what a reload changes."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from itertools import count
from pathlib import Path

import pytest

from exporter.state import StateLock
from tests.kit import scripted
from tests.kit.daemons import RunningDaemon, eventually
from tests.kit.replay import SILENCE, ReplayServer, replies_of
from tests.kit.scripted import ScriptedCluster, free_port
from tests.kit.servers import WireServer, answering, reply

STANDALONE = "v1.18.3/single/green"
QUICK = "{fast: 200ms, medium: 300ms, slow: 500ms, deadline: 10s, fanout_deadline: 5s, budget_ratio: 0.5}"
SUCCESSFUL = "qdrantx_config_last_reload_successful"


def cluster(name: str, *urls: str, poll: str = QUICK, more: str = "") -> str:
    """Return one cluster as a configuration file has it."""
    return f"  - name: {name}\n    peers: [{', '.join(urls)}]\n    poll: {poll}\n{more}"


def write(file: Path, *clusters: str, more: str = "") -> None:
    """Write a configuration file."""
    file.write_text(f"{more}clusters:\n{''.join(clusters)}", encoding="utf-8")


def requests_of(metrics: dict[str, float], name: str) -> float:
    """Return how often a cluster's peers were asked for telemetry."""
    return sum(
        value
        for series, value in metrics.items()
        if series.startswith(f'qdrantx_requests_to_qdrant_total{{qdrant_cluster="{name}"')
        and 'endpoint="/telemetry",outcome="ok"' in series
    )


def up(metrics: dict[str, float], name: str, url: str) -> float | None:
    """Return qdrantx_up of a peer."""
    return metrics.get(f'qdrantx_up{{qdrant_cluster="{name}",peer="{url.removeprefix("http://")}"}}')


def watching(folder: Path, file: Path, *more: str) -> RunningDaemon:
    """Return a daemon with this file that may be reloaded over HTTP."""
    return RunningDaemon(folder, f"--config.file={file}", "--web.enable-lifecycle", *more)


async def test_a_reload_adds_removes_and_changes_clusters_and_leaves_the_others_alone(tmp_path: Path) -> None:
    """An unchanged cluster keeps its counters; of a removed one nothing stays on the page."""
    file = tmp_path / "config.yaml"
    first = ReplayServer(answer=replies_of(STANDALONE))
    second = ReplayServer(answer=replies_of("v1.16.3/single/green"))
    third = ReplayServer(answer=replies_of("v1.12.6/single/green"))
    async with first, second, third:
        write(file, cluster("same", first.url), cluster("gone", second.url), cluster("slower", third.url))
        async with watching(tmp_path, file) as daemon:
            before = await daemon.until(
                lambda seen: min(requests_of(seen, name) for name in ("same", "gone", "slower")) >= 2,
                what="all three polled",
            )
            interval = f'{{qdrant_cluster="slower",peer="{third.url[7:]}",source="telemetry"}}'
            assert before[f"qdrantx_source_interval_seconds{interval}"] == 0.2

            slower = QUICK.replace("fast: 200ms", "fast: 250ms")
            write(
                file,
                cluster("same", first.url),
                cluster("slower", third.url, poll=slower),
                cluster("new", second.url),
            )
            answered = await daemon.reload()

            after = await daemon.until(
                lambda seen: up(seen, "new", second.url) == 1 and up(seen, "slower", third.url) == 1,
                what="the new cluster polled",
            )
            later = await daemon.until(  # were a thing of the removed cluster to come back, it would by now
                lambda seen: requests_of(seen, "new") > requests_of(after, "new"), what="the next page"
            )
            in_force = await daemon.text("/config")

    assert (answered.status, answered.body) == (200, b"Reloaded.\n")
    assert requests_of(after, "same") >= requests_of(before, "same")
    assert not [series for series in {**after, **later} if 'qdrant_cluster="gone"' in series]
    assert after[f"qdrantx_source_interval_seconds{interval}"] == 0.25
    assert after[SUCCESSFUL] == 1
    assert "name: new" in in_force
    assert "name: gone" not in in_force


async def test_a_broken_file_changes_nothing_and_is_told_everywhere_until_it_is_mended(
    tmp_path: Path,
) -> None:
    """The old configuration runs on, in metrics, log, page and answer; SIGHUP and POST alike."""
    file = tmp_path / "config.yaml"
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        write(file, cluster("shop", server.url))
        async with watching(tmp_path, file) as daemon:
            before = await daemon.until(lambda seen: requests_of(seen, "shop") >= 2, what="it polls")
            good_at = before["qdrantx_config_last_reload_success_timestamp_seconds"]

            write(file, cluster("shop", server.url, more="    colections: {cap: 5}\n"))
            daemon.send(signal.SIGHUP)
            broken = await daemon.until(lambda seen: seen[SUCCESSFUL] == 0, what="the reload failed")
            refused = await daemon.reload()
            landing = await daemon.text("/")
            await daemon.until(
                lambda seen: requests_of(seen, "shop") > requests_of(broken, "shop"), what="it polls on"
            )
            log = [json.loads(line) for line in daemon.log.splitlines()]

            write(file, cluster("shop", server.url))
            daemon.send(signal.SIGHUP)
            mended = await daemon.until(lambda seen: seen[SUCCESSFUL] == 1, what="the reload succeeded")
            clean = await daemon.text("/")

    problem = f"{file}:5: clusters.0.colections: there is no such key; did you mean collections?"
    assert (refused.status, refused.body.decode()) == (
        500, f"The old configuration stays in force.\n{problem}\n",
    )  # fmt: skip
    assert "The last reload was refused" in landing
    assert "did you mean collections?" in landing
    failures = [line for line in log if line["event"] == "reload.failed"]
    assert [(line["level"], line["error"]) for line in failures] == [("error", problem)] * 2
    assert broken["qdrantx_config_last_reload_success_timestamp_seconds"] == good_at
    assert mended["qdrantx_config_last_reload_success_timestamp_seconds"] > good_at
    assert requests_of(mended, "shop") > requests_of(before, "shop")
    assert "refused" not in clean


async def test_what_needs_a_restart_is_refused_whole_with_what_to_do(tmp_path: Path) -> None:
    """A half-applied file would be neither the old configuration nor the new one."""
    file = tmp_path / "config.yaml"
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        write(file, cluster("shop", server.url))
        async with watching(tmp_path, file) as daemon:
            write(
                file,
                cluster("renamed", server.url),
                more=f"state: {{dir: {tmp_path}/state}}\nweb: {{external_url: http://elsewhere}}\n",
            )
            refused = await daemon.reload()
            status = (await daemon.get("/api/v1/status")).json()

    advice = "changed, and takes effect only at a restart: put it back, or restart the daemon"
    assert refused.status == 500
    assert f"web: {advice}" in refused.body.decode()
    assert f"state: {advice}" in refused.body.decode()
    assert set(status["clusters"]) == {"shop"}
    assert not (tmp_path / "state").exists()


async def test_a_secret_given_by_file_is_read_again_at_a_reload(tmp_path: Path) -> None:
    """Keys are rotated by writing the file anew."""
    file, key = tmp_path / "config.yaml", tmp_path / "key"
    async with WireServer(answering(reply(401, b"Must provide an API key"))) as server:
        write(file, cluster("shop", server.url, more=f"    api_key: {{file: {key}}}\n"))
        key.write_text("first-key\n", encoding="utf-8")
        async with watching(tmp_path, file) as daemon:
            await eventually(lambda: sent(server, b"first-key"), what="the first key is sent")
            key.write_text("second-key\n", encoding="utf-8")
            await daemon.reload()
            await eventually(lambda: sent(server, b"second-key"), what="the second key is sent")
            server.requests.clear()
            await eventually(lambda: sent(server, b"second-key"), what="it goes on")

            assert not await sent(server, b"first-key")


async def sent(server: WireServer, secret: bytes) -> bool:
    """Tell whether a request carried this secret."""
    return any(secret in request for request in server.requests)


async def test_reloads_at_once_end_with_one_configuration_in_force(tmp_path: Path) -> None:
    """Whoever asks meanwhile waits, and the last file written is the one in force."""
    file = tmp_path / "config.yaml"
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        write(file, cluster("zero", server.url))
        async with watching(tmp_path, file) as daemon:
            for name in ("one", "two", "three"):
                write(file, cluster(name, server.url))
                daemon.send(signal.SIGHUP)
                answers = await asyncio.gather(*(daemon.reload() for _ in range(4)))
                assert {answered.status for answered in answers} == {200}

            metrics = await daemon.until(lambda seen: up(seen, "three", server.url) == 1, what="it polls")
            code, _ = await daemon.stop()

    assert {series.split('"')[1] for series in metrics if series.startswith("qdrantx_up{")} == {"three"}
    assert code == 0
    assert "Traceback" not in daemon.log


async def logged(daemon: RunningDaemon, event: str) -> bool:
    """Tell whether the daemon has logged an event."""
    return f'"event": "{event}"' in daemon.log


async def test_reload_and_configuration_are_closed_to_strangers(tmp_path: Path) -> None:
    """Without --web.enable-lifecycle nobody may do either; signals still work."""
    async with RunningDaemon(tmp_path, "--qdrant.url=http://127.0.0.1:1") as daemon:
        assert (await daemon.reload()).status == 403
        assert (await daemon.get("/config")).status == 403

        daemon.send(signal.SIGHUP)

        await eventually(lambda: logged(daemon, "reload.finished"), what="the reload ended")


async def test_ready_waits_for_the_first_poll_of_every_peer_and_then_stays(tmp_path: Path) -> None:
    """Also in failure: an outage of Qdrant must not take the monitor out of service.

    A peer that hangs holds it up for its deadline; after a reload, a new one does not.
    """
    file = tmp_path / "config.yaml"
    slow = QUICK.replace("deadline: 10s, fanout_deadline: 5s", "deadline: 2s, fanout_deadline: 300ms")
    good = ReplayServer(answer=replies_of(STANDALONE))
    hanging = ReplayServer(answer=lambda _: SILENCE)
    async with good, hanging:
        dead = f"http://127.0.0.1:{free_port(('127.0.0.1',))}"
        known = (cluster("good", good.url), cluster("dead", dead))
        write(file, *known, cluster("hanging", hanging.url, poll=slow))
        async with watching(tmp_path, file) as daemon:
            began = time.monotonic()
            early = await daemon.get("/-/ready")
            await daemon.until(lambda seen: up(seen, "good", good.url) == 1, what="the good one is polled")
            await eventually(lambda: ready(daemon), what="it is ready")
            took = time.monotonic() - began

            write(file, *known, cluster("other", hanging.url, poll=slow))
            await daemon.reload()
            after = await daemon.get("/-/ready")
            metrics = await daemon.metrics()

    assert (early.status, early.body) == (503, b"The first polls have not ended yet.\n")
    assert took < 20.0  # the deadline of 2 s, and what a busy machine adds
    assert after.status == 200
    assert (up(metrics, "good", good.url), up(metrics, "dead", dead)) == (1, 0)


async def ready(daemon: RunningDaemon) -> bool:
    """Tell whether /-/ready says so."""
    return (await daemon.get("/-/ready")).status == 200


@pytest.mark.parametrize("hanging", ["peers", "reload"])
async def test_sigterm_ends_the_daemon_at_once_whatever_hangs(tmp_path: Path, hanging: str) -> None:
    """Exit code 0, without a traceback."""
    file = tmp_path / "config.yaml"
    patient = QUICK.replace(" deadline: 10s", " deadline: 60s")
    async with ScriptedCluster() as played, ReplayServer(answer=lambda _: SILENCE) as silent:
        write(file, cluster("shop", *played.urls), cluster("hanging", silent.url, poll=patient))
        async with watching(tmp_path, file) as daemon:
            await played.play(scripted.PEER_1_FROZEN)
            await asyncio.sleep(0.5)
            if hanging == "reload":
                write(file, *(cluster(f"c{number}", silent.url[:-1] + str(number)) for number in range(9)))
                for _ in range(5):
                    daemon.send(signal.SIGHUP)
            code, seconds = await daemon.stop()

    assert code == 0
    assert seconds < 10.0
    assert "Traceback" not in daemon.log
    assert "never retrieved" not in daemon.log


@pytest.mark.parametrize("after_seconds", [0.2, 0.5, 0.8])
async def test_sigterm_ends_the_daemon_while_it_starts(tmp_path: Path, after_seconds: float) -> None:
    """Whether it has got to its own handler or not."""
    daemon = RunningDaemon(tmp_path, "--qdrant.url=http://127.0.0.1:1", f"--state.dir={tmp_path}/state")
    daemon.launch()
    await asyncio.sleep(after_seconds)

    code, seconds = await daemon.stop()

    assert code in (0, -signal.SIGTERM)
    assert seconds < 10.0
    assert "Traceback" not in daemon.log


async def test_a_hang_up_while_it_starts_is_a_reload_and_no_end(tmp_path: Path) -> None:
    """From the moment the daemon handles signals, before it serves: it waits for the state directory here."""
    state = tmp_path / "state"
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        daemon = RunningDaemon(tmp_path, f"--qdrant.url={server.url}", f"--state.dir={state}")
        with StateLock(directory=state):
            daemon.launch()
            await eventually(lambda: waits_for_the_lock(daemon.pid, state), what="it waits")
            daemon.send(signal.SIGHUP)
        await eventually(lambda: logged(daemon, "reload.finished"), what="the reload ended")
        log = [json.loads(line)["event"] for line in daemon.log.splitlines()]
        code, _ = await daemon.stop()

    assert log.index("web.started") < log.index("reload.finished")
    assert code == 0


async def waits_for_the_lock(pid: int, state: Path) -> bool:
    """Tell whether a process has the lock's file open."""
    try:
        return any(str(link.readlink()).startswith(str(state)) for link in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # a descriptor that was closed while we looked
        return False


async def test_a_daemon_that_was_killed_starts_again_at_once_on_the_same_state(tmp_path: Path) -> None:
    """The kernel frees the lock and the port; the database survives."""
    async with ReplayServer(answer=replies_of(STANDALONE)) as server:
        daemon = RunningDaemon(tmp_path, f"--qdrant.url={server.url}", f"--state.dir={tmp_path}/state")
        await daemon.start()
        await eventually(lambda: ready(daemon), what="it polls")
        code, _ = await daemon.stop(signal.SIGKILL)
        began = time.monotonic()
        async with daemon:  # the same port and the same directory
            page = await daemon.until(
                lambda seen: 'qdrantx_collection_points{qdrant_cluster="default",collection="docs"}' in seen,
                what="a good page",
            )
            took = time.monotonic() - began

    assert code == -signal.SIGKILL
    assert up(page, "default", server.url) == 1
    assert took < 30.0  # seen: 2 s; the rest is for busy machines


async def test_what_is_wrong_with_the_addresses_is_in_log_page_status_and_metric(tmp_path: Path) -> None:
    """Peers that nobody watches and a load balancer: each told once, with what to do."""
    file = tmp_path / "config.yaml"
    turn = count()
    async with ScriptedCluster(spread_hosts=True) as played:
        peers = [replies_of(f"v1.18.3/cluster/02_healthy/peer{peer}") for peer in range(3)]
        async with ReplayServer(answer=lambda target: peers[next(turn) % 3](target)) as balancer:
            alone = "    discovery: {enabled: false}\n"
            write(file, cluster("shop", played.urls[0], more=alone), cluster("mixed", balancer.url))
            series = 'qdrantx_cluster_misconfigured{qdrant_cluster="mixed",kind="load_balancer"}'
            async with watching(tmp_path, file) as daemon:
                await daemon.until(lambda seen: seen.get(series) == 1, what="the balancer is told")
                landing = await daemon.text("/")
                status = (await daemon.get("/api/v1/status")).json()["clusters"]
                lines = [json.loads(line) for line in daemon.log.splitlines()]
        ids = {played.peer_id(1), played.peer_id(2)}

    unwatched = [
        line for line in lines if line["event"] == "peer.unwatched" and line["qdrant_cluster"] == "shop"
    ]
    troubles = [line for line in lines if line["event"] == "cluster.misconfigured"]
    assert {line["peer_id"] for line in unwatched} == ids
    assert len(unwatched) == 2
    assert all("--qdrant.url" in line["reason"] for line in unwatched)
    assert {one["peer_id"] for one in status["shop"]["unwatched"]} == ids
    assert all(f"peer {peer_id} " in landing for peer_id in ids)
    assert [(line["kind"], line["level"]) for line in troubles] == [("load_balancer", "error")]
    assert [one["kind"] for one in status["mixed"]["troubles"]] == ["load_balancer"]
    assert "mixed: load_balancer" in landing
