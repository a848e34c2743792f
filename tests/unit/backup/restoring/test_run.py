"""Restores into three peers that play what real ones do: what is right at the end, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from exporter.backup.restoring.plan import default_target
from exporter.backup.restoring.schema import MARK
from exporter.backup.restoring.settling import NotProven
from exporter.backup.restoring.target import RestoreLimits
from exporter.backup.words import Level, Proof, RestoreState, SetState
from exporter.errors import JobError, JobRefused, StoreMissing
from tests.kit.snapshot_cluster import SnapshotCluster, points
from tests.unit.backup.restoring.kit import SET_ID, ground, is_writing

TARGET = default_target("docs", SET_ID)
SIX_TWICE: dict[str, Any] = {"shard_number": 6, "replication_factor": 2}
CUSTOM: dict[str, Any] = {"sharding_method": "custom", "shard_number": 1, "replication_factor": 2}


async def test_a_set_comes_back_with_every_point_in_every_replica() -> None:
    """Replication factor 2 on three peers: what the manifest counts, on each replica, all Active."""
    async with ground() as here:
        here.cluster.create("docs", points(600), **SIX_TWICE)
        kept = await here.stored("docs")

        done = await here.restore(kept)

        assert here.cluster.points(TARGET) == points(600)
        assert here.cluster.states(TARGET) == {"Active"}
        assert done.points == 600
        assert len(done.replicas) == 12
        assert {shard: set(held.values()) for shard, held in here.cluster.counts(TARGET).items()} == {
            copy.shard: {copy.points} for copy in kept.manifest.shards
        }


async def test_uploads_never_ask_for_another_priority_than_snapshot() -> None:
    """`replica` stops consensus for good, and `no_sync` leaves peers that disagree."""
    async with ground() as here:
        here.cluster.create("docs", points(60), **SIX_TWICE)
        kept = await here.stored("docs")

        await here.restore(kept)

        uploads = [line for line in here.cluster.lines() if "/snapshots/upload" in line]
        assert len(uploads) == 6
        assert all("priority=snapshot" in line for line in uploads)


async def test_settings_indexes_and_limits_are_as_they_were() -> None:
    """What creation takes, what only a PATCH takes, payload indexes, and the metadata without our mark."""
    async with ground() as here:
        here.cluster.create(
            "docs", points(60), **SIX_TWICE, metadata={"owner": "search"}, write_consistency_factor=2,
            hnsw_config={"m": 32}, strict_mode_config={"enabled": True, "max_query_limit": 5},
        )  # fmt: skip
        source = here.cluster.world.named("docs")
        source.config["params"]["read_fan_out_factor"] = 1
        source.payload_schema = {
            "kind": {"data_type": "keyword", "points": 60},
            "text": {"data_type": "text", "params": {"type": "text", "tokenizer": "word"}, "points": 60},
        }
        kept = await here.stored("docs")

        done = await here.restore(kept)

        made = here.cluster.world.named(TARGET)
        assert made.config == source.config
        assert set(made.payload_schema) == {"kind", "text"}
        assert done.warnings == ()


@pytest.mark.parametrize("status", [200, 400])
async def test_optimizers_that_sleep_after_the_uploads_are_woken(status: int) -> None:
    """What the archive had not indexed lies grey until then; where the server refuses, the data is there."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")

        def sleep(_: int, __: str, path: str) -> None:
            if path.endswith(f"{TARGET}/points/count"):
                for replica in here.cluster.world.named(TARGET).shards[0].replicas.values():
                    replica.status = "yellow"

        here.cluster.knobs.on_request = sleep
        if status != 200:
            here.cluster.knobs.fail("PATCH", TARGET, status)

        done = await here.restore(kept)

        assert done.points == 60
        bodies = [seen.body for seen in here.cluster.requests if seen.method == "PATCH"]
        assert bodies[0] == {"optimizers_config": {}}


async def test_shards_of_custom_keys_get_their_ids_again_where_others_are_missing() -> None:
    """Keys were deleted before the backup: fillers take their ids, and are gone in the end."""
    async with ground() as here:
        here.cluster.create("docs", **CUSTOM)
        keys: dict[str | int, Any] = {
            "old": points(5),
            "b": points(40),
            "gone": points(5),
            7: points(60, start=100),
        }
        here.cluster.create_keys("docs", keys, shards_number=2)
        here.cluster.world.delete_key("docs", "old")
        here.cluster.world.delete_key("docs", "gone")
        kept = await here.stored("docs")

        done = await here.restore(kept)

        assert here.cluster.world.named(TARGET).keys == {"b": [3, 4], 7: [7, 8]}
        assert here.cluster.points(TARGET) == points(40) | points(60, start=100)
        assert done.points == 100


@pytest.mark.parametrize("peer", [1, 2])
async def test_a_peer_that_hears_late_that_a_filler_went_is_waited_for(peer: int) -> None:
    """Nothing is sent while a peer still shows shards that no backup has."""
    async with ground() as here:
        here.cluster.create("docs", **CUSTOM)
        here.cluster.create_keys("docs", {"gone": points(1), "b": points(20)})
        here.cluster.world.delete_key("docs", "gone")
        kept = await here.stored("docs")
        here.cluster.knobs.late_looks = {peer: 3}

        await here.restore(kept)

        assert looks_before_the_first_upload(here.cluster, peer) == 4
        assert here.cluster.points(TARGET) == points(20)


async def test_a_peer_that_hears_late_of_the_last_key_is_waited_for_though_it_holds_nothing_of_it() -> None:
    """Its own replicas are all there, so only its keys tell."""
    async with ground() as here:
        here.cluster.create("docs", sharding_method="custom", shard_number=1)
        here.cluster.create_keys("docs", {"a": points(20)})
        here.cluster.create_keys("docs", {"b": points(10, start=100)})
        kept = await here.stored("docs")
        (holder,) = here.cluster.counts("docs")[kept.manifest.shards[-1].shard]
        late = next(number for number in (1, 2) if number != holder)
        here.cluster.knobs.late_looks = {late: 3}

        await here.restore(kept)

        assert looks_before_the_first_upload(here.cluster, late) == 4


def looks_before_the_first_upload(cluster: SnapshotCluster, peer: int) -> int:
    """Count how often a peer was asked for shards after the keys were made and before the first upload."""
    seen = cluster.requests
    upload = next(at for at, one in enumerate(seen) if "/snapshots/upload" in one.line)
    keys = max(at for at, one in enumerate(seen[:upload]) if one.method != "GET" and "/shards" in one.path)
    looks = [one for one in seen[keys:upload] if one.line.startswith("GET /collections/")]
    return sum(one.peer == peer and one.path.endswith("/cluster") for one in looks)


async def test_shards_go_to_the_peers_that_had_them_where_these_are_still_there() -> None:
    """A key is placed where it was, so that a machine chosen for it has it again."""
    async with ground() as here:
        here.cluster.create("docs", **CUSTOM)
        here.cluster.create_keys(
            "docs", {"cold": points(20)}, placement=[here.cluster.ids[2]], replication_factor=1
        )
        kept = await here.stored("docs")

        await here.restore(kept)

        assert here.cluster.counts(TARGET) == {1: {2: 20}}


async def test_a_cluster_of_three_is_restored_into_one_server() -> None:
    """Another number of peers, without cluster mode: every shard, once."""
    async with ground() as here, ground(standalone=True, store=here.store) as there:
        here.cluster.create("docs", points(600), **SIX_TWICE)
        kept = await here.stored("docs")

        done = await there.restore(kept)

        assert there.cluster.points(TARGET) == points(600)
        assert len(done.replicas) == 6
        assert (
            "the replication factor is 2; a shard will have 1, for there are no more peers" in done.warnings
        )


async def test_one_server_is_restored_into_a_cluster() -> None:
    """The other way round: the shards are spread, each once as its settings say."""
    async with ground(standalone=True) as here, ground(store=here.store) as there:
        here.cluster.create("docs", points(90), shard_number=2)
        kept = await here.stored("docs")

        done = await there.restore(kept)

        assert there.cluster.points(TARGET) == points(90)
        assert len(done.replicas) == 2


async def test_custom_shard_keys_are_refused_by_a_server_without_cluster_mode() -> None:
    """It has no shard keys: nothing is begun."""
    async with ground() as here, ground(standalone=True, store=here.store) as there:
        here.cluster.create("docs", **CUSTOM)
        here.cluster.create_keys("docs", {"a": points(5)})
        kept = await here.stored("docs")

        with pytest.raises(JobRefused, match="a server without cluster mode has none"):
            await there.restore(kept)

        assert there.cluster.world.collections == {}


async def test_an_alias_is_no_target() -> None:
    """The server would answer 200 and replace the data of the collection behind it."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        here.cluster.create("other", points(7))
        here.cluster.world.aliases["live"] = "other"
        kept = await here.stored("docs")

        with pytest.raises(JobRefused, match="live is an alias of other"):
            await here.restore(kept, target="live")

        assert here.cluster.points("other") == points(7)


async def test_a_collection_that_somebody_made_is_no_target() -> None:
    """Nothing that exists is written to, whether it holds points or not."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        here.cluster.create("theirs", points(7))
        kept = await here.stored("docs")

        with pytest.raises(JobRefused, match="the collection theirs exists, with 7 points"):
            await here.restore(kept, target="theirs")

        assert not [seen for seen in here.cluster.requests if is_writing(seen.method, seen.path)]


async def test_the_real_name_is_taken_only_where_it_is_meant() -> None:
    """Without `into` it is refused; with it there is a warning."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.cluster.world.delete("docs")

        with pytest.raises(JobRefused, match="--into docs"):
            await here.restore(kept, target="docs")
        done = await here.restore(kept, target="docs", into=True)

        assert here.cluster.points("docs") == points(60)
        assert "docs is the real name" in " ".join(done.warnings)


@pytest.mark.parametrize("version", ["1.17.1", "1.20.0"])
async def test_an_older_and_a_much_newer_server_want_force(version: str) -> None:
    """The same minor version and the next are documented; others are tried when somebody insists."""
    async with ground() as here, ground(version=version, store=here.store) as there:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")

        with pytest.raises(JobRefused, match=f"the server is {version}; documented is"):
            await there.restore(kept)
        done = await there.restore(kept, force=True)

        assert there.cluster.points(TARGET) == points(60)
        assert f"the server is {version}" in " ".join(done.warnings)


async def test_the_next_minor_version_needs_no_force() -> None:
    """That is what Qdrant documents."""
    async with ground() as here, ground(version="1.19.0", store=here.store) as there:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")

        await there.restore(kept)

        assert there.cluster.points(TARGET) == points(60)


async def test_a_server_that_keeps_no_metadata_is_restored_into_too() -> None:
    """Before 1.16 the record alone is the mark."""
    async with ground(version="1.12.6") as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")

        done = await here.restore(kept)

        assert here.cluster.points(TARGET) == points(60)
        assert done.record.peers == tuple(sorted(here.cluster.ids))
        assert all(MARK not in str(seen.body) for seen in here.cluster.requests)


async def test_a_set_that_lacks_a_shard_is_refused_whatever_is_said() -> None:
    """Force does not make points."""
    async with ground() as here:
        here.cluster.create("docs", points(60), **SIX_TWICE)
        kept = await here.stored("docs", archives=(), state=SetState.INCOMPLETE)

        with pytest.raises(JobRefused, match="lacks the shards 0, 1, 2, 3, 4, 5"):
            await here.restore(kept, force=True)


async def test_a_set_that_failed_its_proof_wants_force() -> None:
    """Somebody should know before relying on it."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        bad = Proof(Level.HASHED, 1.0, False, ("a.snapshot: another SHA-256",), "", 1.0)
        await here.shelf.save_proof(kept.manifest, bad)
        kept = await here.shelf.find(SET_ID)

        with pytest.raises(JobRefused, match="another SHA-256"):
            await here.restore(kept)


async def test_a_truncated_file_is_found_before_anything_is_made() -> None:
    """Its size is not that of the manifest."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        path = next(path for path in here.store.objects if path.endswith("a.snapshot"))
        here.store.keep(path, here.store.objects[path][:-512])

        with pytest.raises(JobRefused, match=r"a\.snapshot has .* bytes, and .* by the manifest"):
            await here.restore(kept)

        assert TARGET not in here.cluster.world.collections


async def test_a_missing_file_is_found_before_anything_is_made() -> None:
    """The store says which."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        del here.store.objects[next(path for path in here.store.objects if path.endswith("a.snapshot"))]

        with pytest.raises(StoreMissing):
            await here.restore(kept)

        assert TARGET not in here.cluster.world.collections


async def test_a_flipped_byte_is_found_before_anything_is_made() -> None:
    """Its hash is not that of the manifest; nobody else would tell."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        path = next(path for path in here.store.objects if path.endswith("a.snapshot"))
        data = bytearray(here.store.objects[path])
        data[700] ^= 1
        here.store.keep(path, bytes(data))

        with pytest.raises(JobRefused, match=r"a\.snapshot has not the SHA-256"):
            await here.restore(kept)

        assert TARGET not in here.cluster.world.collections


async def test_replicas_that_differ_become_the_one_that_counts() -> None:
    """A writer was running: the archive of one peer has more points, and every replica has those then."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=1, replication_factor=3)
        here.cluster.replica("docs", 0, 0).points = points(70)
        kept = await here.stored("docs")

        done = await here.restore(kept)

        assert {replica.points for replica in done.replicas} == {70}
        assert here.cluster.counts(TARGET) == {0: {0: 70, 1: 70, 2: 70}}


async def test_a_shard_that_somebody_wrote_to_meanwhile_may_hold_a_number_in_between() -> None:
    """Nobody counted in the archive: before 55, after 90, and 60 is in it."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=1, replication_factor=2)
        kept = await here.stored("docs")
        copy = here.unsettled(kept, before=55, after=90)

        done = await here.restore(copy)

        assert done.points == 60
        assert "a writer was running" in " ".join(done.warnings)


async def test_another_number_of_points_than_in_the_manifest_is_no_restore() -> None:
    """Peers that agree prove nothing: the record says failed, and the target stays to be looked at."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=1, replication_factor=2)
        kept = here.unsettled(await here.stored("docs"), before=61, after=90)

        with pytest.raises(NotProven, match="shard 0 holds 60 points on a, not 61 to 90"):
            await here.restore(kept)

        [record] = await here.shelf.restores()
        assert record.state is RestoreState.FAILED
        assert "60 points" in record.detail
        assert TARGET in here.cluster.world.collections


async def test_replicas_that_stay_dead_are_no_restore() -> None:
    """The server does not fill them: after a while without a change somebody hears of it."""
    async with ground() as here:
        here.limits = RestoreLimits(moving=20.0)
        here.cluster.create("docs", points(60), shard_number=1, replication_factor=2)
        kept = await here.stored("docs")
        here.cluster.knobs.recovers = False

        with pytest.raises(NotProven, match="shard 0 is Dead on"):
            await here.restore(kept)


async def test_a_transfer_that_fails_and_begins_anew_for_ever_is_no_restore() -> None:
    """A name with a newline in it is lost on the way between two peers: what changes there is no progress."""
    async with ground() as here:
        here.limits = RestoreLimits(moving=20.0)
        here.cluster.create("docs", points(60), shard_number=1, replication_factor=2)
        kept = await here.stored("docs")
        here.cluster.knobs.recovers = False

        def begin_anew(*_: object) -> None:
            found = here.cluster.world.collections.get(TARGET)
            for replica in found.shards[0].replicas.values() if found is not None else ():
                if replica.state != "Active":
                    replica.state = "Dead" if replica.state == "Recovery" else "Recovery"

        here.cluster.knobs.on_request = begin_anew

        with pytest.raises(NotProven, match="shard 0 is "):
            await here.restore(kept)


async def test_replicas_that_say_active_before_they_are_filled_are_waited_for() -> None:
    """For half a second after an upload the others are Active and empty."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=2, replication_factor=3)
        kept = await here.stored("docs")
        here.cluster.knobs.dead_after_seconds = 0.5
        here.cluster.knobs.recovery_seconds = 30.0

        done = await here.restore(kept)

        assert sorted(replica.points for replica in done.replicas) == [30] * 6


async def test_the_alias_shows_the_target_once_it_is_proven() -> None:
    """In one action, after the last count."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        here.cluster.world.aliases["live"] = "docs"
        kept = await here.stored("docs")

        await here.restore(kept, switch_alias="live")

        assert here.cluster.world.aliases == {"live": TARGET}
        lines = here.cluster.lines()
        switched = lines.index("POST /collections/aliases")
        assert max(number for number, line in enumerate(lines) if line.endswith("/points/count")) < switched


async def test_aliases_come_back_only_when_asked_and_never_from_another_collection() -> None:
    """One that shows something else now is left alone: it is refused before anything is made."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        here.cluster.create("other", points(1))
        here.cluster.world.aliases["live"] = "docs"
        kept = await here.stored("docs")
        here.cluster.world.delete("docs")

        await here.restore(kept, target="plain")
        here.cluster.world.aliases["live"] = "other"
        with pytest.raises(JobRefused, match="the alias live of the backup shows other now"):
            await here.restore(kept, aliases=True)
        del here.cluster.world.aliases["live"]
        await here.restore(kept, aliases=True)

        assert here.cluster.world.aliases == {"live": TARGET}


async def test_a_peer_that_is_not_there_is_refused_before_anything_is_made() -> None:
    """A replica placed on it could neither be filled nor compared."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        await here.cluster.kill(2)

        with pytest.raises(JobRefused, match="c does not answer"):
            await here.restore(kept)

        assert TARGET not in here.cluster.world.collections


async def test_a_peer_whose_url_nobody_gave_is_refused() -> None:
    """All peers of a cluster are needed."""
    async with ground() as here:
        here.cluster.create("docs", points(60))
        kept = await here.stored("docs")
        here.peers = here.peers[:2]

        with pytest.raises(JobRefused, match=f"whose URL is not given.*{here.cluster.ids[2]}"):
            await here.restore(kept)


async def test_a_dry_run_says_all_and_writes_nothing() -> None:
    """Requests in their order, bytes, and the time it will take."""
    async with ground() as here:
        here.cluster.create("docs", points(60), **SIX_TWICE)
        kept = await here.stored("docs")

        planned = await here.restorer().plan(kept, here.options())

        assert planned.steps[0].request == f"PUT /collections/{TARGET}"
        assert [step.size_bytes for step in planned.steps if step.size_bytes] == [
            upload.size_bytes for upload in planned.uploads
        ]
        assert planned.eta_seconds(1_000.0) == (planned.size_bytes + planned.hashed_bytes) / 1_000.0
        assert not [seen for seen in here.cluster.requests if is_writing(seen.method, seen.path)]
        assert await here.shelf.restores() == []


async def test_an_upload_that_is_refused_ends_the_restore_and_says_how_to_go_on() -> None:
    """The server's words, and that the same command goes on."""
    async with ground() as here:
        here.cluster.create("docs", points(60), shard_number=1, replication_factor=2)
        kept = await here.stored("docs")
        here.cluster.knobs.fail("POST", "/snapshots/upload", 500, text="Service internal error: no room")

        with pytest.raises(JobError, match=r"no room.*The same command goes on with it"):
            await here.restore(kept)

        [record] = await here.shelf.restores()
        assert record.state is RestoreState.OPEN


async def test_progress_tells_the_bytes_of_all_shards_as_one() -> None:
    """One bar for the upload, from nothing to all."""
    async with ground() as here:
        here.cluster.create("docs", points(600), **SIX_TWICE)
        kept = await here.stored("docs")
        watch = Watch()

        await here.restorer(watch).restore(kept, here.options())

        whole = sum(
            upload.length for upload in (await here.restorer().plan(kept, here.options(target="x"))).uploads
        )
        assert watch.steps[1][:2] == ("upload 6 shards", whole)
        assert watch.steps[1][2] == sorted(watch.steps[1][2])
        assert watch.steps[1][2][-1] == whole


class Watch:
    """Notes every step with its total and what was done of it."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, int | None, list[int]]] = []

    def begin(self, what: str, total_bytes: int | None) -> None:
        self.steps.append((what, total_bytes, []))

    def advance(self, done_bytes: int) -> None:
        self.steps[-1][2].append(done_bytes)

    def end(self) -> None:
        pass
