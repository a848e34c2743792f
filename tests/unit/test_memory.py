"""Known peers between the daemon and its state directory, and `peers forget` on both sides of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from exporter.cli import app
from exporter.clock import SystemClock
from exporter.memory import PeerMemory
from exporter.state import KnownPeer, KnownPeerChanges, State, StateLock
from tests.kit import scripted
from tests.kit.daemons import RunningDaemon, eventually, run_command
from tests.kit.derivation import PEER_IDS
from tests.kit.scripted import ScriptedCluster
from tests.kit.watching import Watching, cluster_of

QUICK = "{fast: 200ms, medium: 300ms, slow: 500ms, deadline: 10s, fanout_deadline: 5s, budget_ratio: 0.5}"


def write(file: Path, url: str) -> None:
    """Write a configuration of one cluster, one peer of which is given."""
    file.write_text(f"clusters: [{{name: shop, peers: ['{url}'], poll: {QUICK}}}]\n", encoding="utf-8")


def stored(directory: Path) -> dict[str, KnownPeer]:
    """Return what the state directory knows, by label."""
    state = State.open(directory, clock=SystemClock())
    try:
        return {peer.label: peer for peer in state.known_peers()}
    finally:
        state.close()


def remember(directory: Path, *peers: tuple[str, str]) -> None:
    """Leave (label, origin) of peers of the cluster shop, as a daemon would have."""
    state = State.open(directory, clock=SystemClock())
    known = tuple(
        KnownPeer("shop", label, f"http://{label}", None, number, origin, 1.0, 2.0)
        for number, (label, origin) in enumerate(peers, start=1)
    )
    state.save(KnownPeerChanges("shop", remember=known))
    state.close()


async def test_a_dead_discovered_peer_is_remembered_over_a_restart_until_somebody_forgets_it(
    tmp_path: Path,
) -> None:
    """Nothing else knows of it: it is in no file, and as the cluster stands nobody can find it."""
    file, state = tmp_path / "config.yaml", tmp_path / "state"
    async with ScriptedCluster(spread_hosts=True) as played:
        write(file, played.urls[0])
        labels = [url.removeprefix("http://") for url in played.urls]
        ups = [f'qdrantx_up{{qdrant_cluster="shop",peer="{label}"}}' for label in labels]
        daemon = RunningDaemon(tmp_path, f"--config.file={file}", f"--state.dir={state}")
        async with daemon:
            await daemon.until(lambda seen: [seen.get(up) for up in ups] == [1, 1, 1], what="all are found")
            await eventually(lambda: known(state, labels), what="all are stored")
        await played.play(scripted.PEER_2_DEAD_FOR_9S)

        async with daemon:
            live = 'qdrantx_shard_live_replicas{qdrant_cluster="shop",collection="rf1",shard="1"}'
            await daemon.until(
                lambda seen: [seen.get(one) for one in (*ups, live)] == [1, 1, 0, 0], what="2 is down"
            )
            forgotten = await run_command("peers", "forget", "shop", labels[2], f"--state.dir={state}")
            await eventually(lambda: gone(daemon, labels[2]), what="it is dropped", within_seconds=20.0)
            later = await daemon.until(lambda seen: ups[2] not in seen, what="it is gone")
            status = (await daemon.get("/api/v1/status")).json()["clusters"]["shop"]
            again = await run_command("peers", "forget", "shop", labels[2], f"--state.dir={state}")

    assert (forgotten.returncode, forgotten.stderr) == (0, "")
    assert "is forgotten; the daemon watches it no more" in forgotten.stdout
    assert not [series for series in later if f'peer="{labels[2]}"' in series and "replica" not in series]
    assert set(status["peers"]) == set(labels[:2])
    assert [one["peer_id"] for one in status["unwatched"]] == [PEER_IDS["peer2"]]
    assert set(stored(state)) == set(labels[:2])
    assert again.returncode == 1
    assert again.stderr.startswith(f"no peer {labels[2]} is known in cluster shop; known are: ")


def test_a_daemon_that_is_too_busy_to_look_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """It holds the directory, so it will see the request."""
    remember(tmp_path, ("q-0:6333", "discovered"))

    with StateLock(directory=tmp_path):
        done = CliRunner().invoke(app, ["peers", "forget", "shop", "q-0:6333", f"--state.dir={tmp_path}"])

    assert done.exit_code == 0
    assert "the daemon has not looked for 3 s, it will drop it when it does" in done.stdout


async def gone(daemon: RunningDaemon, label: str) -> bool:
    """Tell whether the daemon watches a peer no more."""
    return label not in (await daemon.get("/api/v1/status")).json()["clusters"]["shop"]["peers"]


async def known(directory: Path, labels: list[str]) -> bool:
    """Tell whether the state directory knows these peers."""
    return set(stored(directory)) == set(labels)


def test_without_a_daemon_the_row_goes_and_the_next_daemon_will_not_watch_it(tmp_path: Path) -> None:
    """The command says that nobody runs here, in case somebody should."""
    remember(tmp_path, ("q-0:6333", "discovered"), ("q-1:6333", "discovered"))

    done = CliRunner().invoke(app, ["peers", "forget", "shop", "q-1:6333", f"--state.dir={tmp_path}"])

    assert done.exit_code == 0
    assert "no daemon runs here, the next will not watch it" in done.stdout
    assert set(stored(tmp_path)) == {"q-0:6333"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shop", "q-9:6333"), "no peer q-9:6333 is known in cluster shop; known are: q-0:6333, q-1:6333"),
        (("archive", "q-0:6333"), "no peer q-0:6333 is known in cluster archive; known are: none"),
        (("shop", "q-0:6333"), "peer q-0:6333 of cluster shop stands in the configuration: remove it there"),
    ],
)
def test_what_cannot_be_forgotten_is_refused_with_the_reason(
    tmp_path: Path, arguments: tuple[str, str], said: str
) -> None:
    """An unknown peer is most often a typing mistake; a configured one would be back at once."""
    remember(tmp_path, ("q-0:6333", "configured"), ("q-1:6333", "discovered"))

    done = CliRunner().invoke(app, ["peers", "forget", *arguments, f"--state.dir={tmp_path}"])

    assert (done.exit_code, done.stderr) == (1, f"{said}\n")
    assert set(stored(tmp_path)) == {"q-0:6333", "q-1:6333"}


def test_a_state_directory_where_no_daemon_ever_was_is_refused_and_not_made(tmp_path: Path) -> None:
    """A mistyped path made by root would keep a later daemon out."""
    wrong = tmp_path / "sate"

    done = CliRunner().invoke(app, ["peers", "forget", "shop", "q-0:6333", f"--state.dir={wrong}"])

    assert done.exit_code == 1
    assert done.stderr == f"no daemon has kept its state in {wrong}: give the --state.dir of the daemon\n"
    assert not wrong.exists()


def test_without_a_state_directory_it_says_what_to_give() -> None:
    """Exit code 2, as for every missing setting."""
    done = CliRunner().invoke(
        app, ["peers", "forget", "shop", "q-0:6333"], env={"QDRANT_EXPORTER_STATE_DIR": None}
    )

    assert (done.exit_code, done.stderr.startswith("give --state.dir")) == (2, True)


async def test_a_peer_forgotten_while_its_cluster_was_out_of_force_stays_forgotten(tmp_path: Path) -> None:
    """A reload took the cluster out, somebody forgot its dead peer, a reload brings the cluster back."""
    state = State.open(tmp_path, clock=SystemClock())
    try:
        async with ScriptedCluster(spread_hosts=True) as played:
            settings = cluster_of(played.urls[0]).model_copy(update={"name": "shop"})
            dead = played.urls[2].removeprefix("http://")
            async with Watching(settings) as watching:
                memory = PeerMemory(state=state, fleet=watching.fleet)
                await watching.until(lambda seen: seen.get(f"up{{peer={dead}}}") == 1)
                await played.play(scripted.PEER_2_DEAD_FOR_9S)
                await memory.step()
                await watching.fleet.exchange({})

                state.request_forget("shop", dead)
                await memory.step()
                await watching.fleet.exchange(watching.fleet.build([settings]))

                readings = await watching.until(lambda seen: seen.get("cluster_peers_watched") == 2)
    finally:
        state.close()

    assert f"up{{peer={dead}}}" not in readings


async def test_a_cluster_that_a_reload_brings_back_remembers_whom_it_had_found(tmp_path: Path) -> None:
    """Its dead peer is down, not unheard of."""
    async with ScriptedCluster(spread_hosts=True) as played:
        settings = cluster_of(played.urls[0])
        dead = played.urls[2].removeprefix("http://")
        async with Watching(settings) as watching:
            await watching.until(lambda seen: seen.get(f"up{{peer={dead}}}") == 1)
            await played.play(scripted.PEER_2_DEAD_FOR_9S)
            await watching.fleet.exchange({})

            await watching.fleet.exchange(watching.fleet.build([settings]))

            await watching.until(lambda seen: seen.get(f"up{{peer={dead}}}") == 0)
