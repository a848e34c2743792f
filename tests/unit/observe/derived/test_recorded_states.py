"""What is derived from the recorded states of real servers, as a person can check by hand."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from exporter.model import FaultKind
from exporter.observe.sources.aliases import read
from exporter.observe.sources.remembered import Remembered
from exporter.observe.sources.telemetry import Parts
from exporter.observe.sources.telemetry import read as read_telemetry
from exporter.qdrant.payloads import Telemetry, result
from tests.kit.derivation import PEER_IDS, Deployment, single, three
from tests.kit.recordings import recording

V18 = "v1.18.3"
HEALTHY = f"{V18}/cluster/02_healthy"
KILLED = f"{V18}/cluster/04_peer2_killed_9s"


def status_in_force(readings: dict[str, float], collection: str) -> list[str]:
    prefix = f"collection_status{{collection={collection},status="
    return [
        series.removeprefix(prefix).rstrip("}")
        for series, value in readings.items()
        if series.startswith(prefix) and value == 1
    ]


@pytest.mark.parametrize(
    ("collection", "lag"),
    [("docs", 40_500), ("deferred", 12_000), ("quantized", 3_773), ("noindex", 0), ("binary", 0)],
)
def test_indexing_lag_counts_the_points_of_big_segments_without_an_index(collection: str, lag: int) -> None:
    """While 100,000 points were being indexed; noindex has indexing off, binary is below the threshold."""
    readings = single(f"{V18}/single/yellow").readings()

    assert lag == readings[f"collection_indexing_lag_points{{collection={collection},vector=}}"]


def test_lag_of_named_sparse_and_multi_vectors_is_told_by_name_and_sparse_is_never_behind() -> None:
    """The collection `named` has four dense names and one sparse; none reaches its threshold."""
    readings = single(f"{V18}/single/yellow").readings()
    prefix = "collection_indexing_lag_points{collection=named,vector="

    names = {
        series.removeprefix(prefix)[:-1]: value for series, value in readings.items() if prefix in series
    }

    assert names == {"body": 0, "colbert": 0, "img": 0, "title": 0}


@pytest.mark.parametrize("version", ["v1.12.6", "v1.16.3", "v1.18.3"])
def test_points_are_those_that_the_server_tells_of_the_collection(version: str) -> None:
    """GET /collections/docs said so in the same state, on every version recorded."""
    readings = single(f"{version}/single/green").readings()
    told = recording(f"{version}/single/green/collection.docs").json["result"]

    assert told["points_count"] == readings["collection_points{collection=docs}"]
    assert told["indexed_vectors_count"] == readings["collection_indexed_vectors{collection=docs}"]
    assert told["segments_count"] == readings["collection_segments{collection=docs}"]
    assert status_in_force(readings, "docs") == ["green"]


@pytest.mark.parametrize("version", ["v1.12.6", "v1.16.3", "v1.18.3"])
def test_payload_indexes_hold_the_points_that_the_server_tells(version: str) -> None:
    """The schema in GET /collections/docs has the same fields, types and points."""
    readings = single(f"{version}/single/green").readings()
    schema = recording(f"{version}/single/green/collection.docs").json["result"]["payload_schema"]

    told = {
        f"collection_payload_index_points{{collection=docs,field={field},type={index['data_type']}}}": float(
            index["points"]
        )
        for field, index in schema.items()
    }

    assert told
    assert told == {name: readings[name] for name in told}


def test_deleted_points_make_their_share_of_the_bytes_reclaimable() -> None:
    """After 15 % were deleted: 3.07 MB of vectors and 0.77 MB of payload, by the contract's formula."""
    deployment = Deployment({"qdrant:6333": None})
    told = recording(f"{V18}/single/vacuum/deleted_15.telemetry_4").json
    deployment.telemetry("qdrant:6333", told)
    deployment.segments("qdrant:6333", told)

    readings = deployment.readings()

    assert readings["collection_deleted_points{collection=docs}"] == 6_002
    assert readings["collection_reclaimable_bytes{collection=docs}"] == pytest.approx(3.84e6, rel=0.01)


def test_a_shard_that_did_not_load_is_not_believed_to_be_green() -> None:
    """The server says green, Active and 0 points of a dummy shard."""
    readings = single(f"{V18}/single/broken_shard").readings()

    assert readings["replica_loaded{collection=binary,shard=0,peer=qdrant:6333}"] == 0
    assert readings["shard_live_replicas{collection=binary,shard=0}"] == 0
    assert status_in_force(readings, "binary") == ["unavailable"]
    assert readings["collection_complete{collection=binary}"] == 0
    assert "collection_points{collection=binary}" not in readings
    assert status_in_force(readings, "docs") == ["green"]


def test_a_dummy_replica_beside_a_live_one_makes_the_collection_unloaded() -> None:
    """Reads go on from the other replica, so it is not unavailable; green would be a lie."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    told = recording(f"{HEALTHY}/peer0/telemetry_3").json
    local_shard(told, "rf3", 0).update(variant_name="dummy shard", num_points=0)
    deployment.telemetry("peer0", told)

    readings = deployment.readings()

    assert status_in_force(readings, "rf3") == ["unloaded"]
    assert readings["collection_points{collection=rf3}"] == 3_000


def test_recovery_mode_shows_every_collection_as_unavailable() -> None:
    """All shards are dummies there, which say green and OK of themselves."""
    readings = single(f"{V18}/single/recovery_mode").readings()

    assert status_in_force(readings, "docs") == ["unavailable"]
    assert "collection_optimizer_ok{collection=docs}" not in readings


def test_red_for_lack_of_disk_names_the_disk() -> None:
    """Seen at 65 % disk use: the optimizer's own check refuses before the disk is full."""
    readings = single(f"{V18}/single/disk_full/after_5s").readings()

    assert status_in_force(readings, "full") == ["red"]
    assert readings["collection_optimizer_ok{collection=full}"] == 0
    assert readings["collection_optimizer_error{collection=full,kind=disk_space}"] == 1
    assert readings["collection_optimizer_error{collection=full,kind=other}"] == 0
    assert readings["collection_indexing_lag_points{collection=full,vector=}"] == 45_001


def test_grey_that_nothing_wakes_is_stalled() -> None:
    """After a kill work is pending and nothing runs, until a write or a PATCH comes."""
    readings = single(f"{V18}/single/restarted").readings()

    assert status_in_force(readings, "docs") == ["grey"]
    assert readings["collection_indexing_stalled{collection=docs}"] == 1
    assert readings["collection_indexing_stalled{collection=noindex}"] == 0


def test_deferred_points_are_told_while_the_excluded_ones_are_zero() -> None:
    """With prevent_unoptimized the server excludes nothing and hides 10,000 points."""
    readings = single(f"{V18}/single/yellow").readings()

    assert readings["collection_deferred_points{collection=deferred}"] == 10_000
    assert readings["collection_indexed_only_excluded_points{collection=deferred,vector=}"] == 0


def test_a_dead_peer_takes_its_replicas_from_the_live_ones_though_they_read_active() -> None:
    """Peer 2 was killed 9 s ago; /cluster and telemetry of the others still call its replicas Active."""
    deployment = three({"peer0": KILLED, "peer1": KILLED})

    readings = deployment.readings()

    assert readings["replica_state{collection=rf1,shard=1,peer=peer2,state=Active}"] == 1
    assert readings["shard_live_replicas{collection=rf1,shard=1}"] == 0
    assert status_in_force(readings, "rf1") == ["unavailable"]
    assert readings["collection_complete{collection=rf1}"] == 0
    assert "collection_points{collection=rf1}" not in readings
    assert readings["shard_live_replicas{collection=rf2,shard=0}"] == 1
    assert readings["collection_points{collection=rf2}"] == 20_000
    assert readings["cluster_quorum_headroom"] == 0
    assert "collection_deleted_points{collection=rf2}" not in readings


def test_only_the_leaders_send_failures_are_told() -> None:
    """A follower's list is empty although the peer is dead."""
    readings = three({"peer0": KILLED, "peer1": KILLED}).readings()

    failures = {series: value for series, value in readings.items() if "send_failures" in series}

    assert failures == {
        "consensus_send_failures{peer=peer0,to=peer1}": 0,
        "consensus_send_failures{peer=peer0,to=peer2}": 46,
    }


def test_loss_of_quorum_shows_where_readiness_and_thread_status_look_healthy() -> None:
    """One of three is left: leader 0, the thread still "working", /readyz still 200."""
    readings = three({"peer0": f"{V18}/cluster/14_no_quorum"}).readings()

    assert readings["cluster_quorum_headroom"] == -1
    assert readings["cluster_voters"] == 3
    assert readings["collection_points{collection=rf3}"] == 3_060


def test_stopped_consensus_leaves_no_headroom_though_every_peer_answers() -> None:
    """All three answer, all three stopped with an error; the leader field still names one."""
    peers = {"peer0": 8069269975016437, "peer1": 59084827428975, "peer2": 1506645296241325}
    state = f"{V18}/cluster/18_consensus_stopped"
    readings = three(dict.fromkeys(peers, state), watched=peers).readings()

    assert readings["cluster_quorum_headroom"] == -2


def test_a_local_shard_that_its_own_peer_does_not_list_is_never_counted() -> None:
    """Recording 18: peer 0 holds data of shard 2 that belongs to peers 1 and 2 alone."""
    peers = {"peer0": 8069269975016437, "peer1": 59084827428975, "peer2": 1506645296241325}
    state = f"{V18}/cluster/18_consensus_stopped"
    readings = three(dict.fromkeys(peers, state), watched=peers).readings()

    assert "replica_points{collection=by_replica,shard=2,peer=peer0}" not in readings
    assert readings["replica_points{collection=by_replica,shard=2,peer=peer1}"] == 0
    assert readings["shard_points_spread{collection=by_replica,shard=2}"] == 0


def test_a_replica_in_manual_recovery_is_not_live_and_lends_no_points() -> None:
    """Recording 18: peer 0's 1,014 points of shard 0 wait for a person; peer 1's 0 points are Active."""
    peers = {"peer0": 8069269975016437, "peer1": 59084827428975, "peer2": 1506645296241325}
    state = f"{V18}/cluster/18_consensus_stopped"
    readings = three(dict.fromkeys(peers, state), watched=peers).readings()

    assert readings["replica_state{collection=by_replica,shard=0,peer=peer0,state=ManualRecovery}"] == 1
    assert readings["shard_live_replicas{collection=by_replica,shard=0}"] == 1
    assert readings["collection_points{collection=by_replica}"] == 0


def test_replicas_that_disagree_while_green_show_their_spread() -> None:
    """The healthy cluster with one replica's count altered: nothing else tells."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    told = recording(f"{HEALTHY}/peer1/telemetry_3").json
    local_shard(told, "rf3", 0)["num_points"] = 2_700
    deployment.telemetry("peer1", told)

    readings = deployment.readings()

    assert readings["shard_points_spread{collection=rf3,shard=0}"] == 300
    assert readings["shard_points_spread_ratio{collection=rf3,shard=0}"] == pytest.approx(0.1)
    assert status_in_force(readings, "rf3") == ["green"]


@pytest.mark.parametrize("kind", [FaultKind.AUTH, FaultKind.REFUSED, FaultKind.BAD_PAYLOAD])
def test_a_server_that_refuses_us_is_not_taken_for_a_lost_one(kind: FaultKind) -> None:
    """A key was rotated, a limit hit: what it holds may well be served to its users."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    deployment.fail("peer1", "telemetry", "cluster", kind=kind)

    readings = deployment.readings()

    assert "collection_status{collection=rf1,status=unavailable}" not in readings
    assert "shard_live_replicas{collection=rf3,shard=0}" not in readings
    assert "cluster_quorum_headroom" not in readings


def test_a_shard_that_was_lost_with_its_last_peer_is_unavailable() -> None:
    """The peer was removed by force: the shard is listed and has no replica any more."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    for peer in PEER_IDS:
        told = recording(f"{HEALTHY}/{peer}/telemetry_3").json
        shard_of(told, "rf1", 1).update(replicate_states={}, local=None)
        deployment.telemetry(peer, told)

    readings = deployment.readings()

    assert status_in_force(readings, "rf1") == ["unavailable"]
    assert readings["shard_live_replicas{collection=rf1,shard=1}"] == 0
    assert readings["collection_complete{collection=rf1}"] == 0


def test_the_lowest_answering_peer_id_lends_its_points() -> None:
    """Peer 0 has the lowest id: its count is the collection's until its poll fails."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    told = recording(f"{HEALTHY}/peer0/telemetry_3").json
    local_shard(told, "rf3", 0)["num_points"] = 2_999
    deployment.telemetry("peer0", told)
    before = deployment.readings()["collection_points{collection=rf3}"]

    deployment.fail("peer0", "telemetry")

    assert before == 2_999
    assert deployment.readings()["collection_points{collection=rf3}"] == 3_000


def test_a_frozen_peer_is_no_longer_live_and_the_rest_goes_on() -> None:
    """It accepts and stays silent: its polls time out while the other two answer as before."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    deployment.fail("peer1", "telemetry", "cluster", "segments")

    readings = deployment.readings()

    assert readings["shard_live_replicas{collection=rf3,shard=0}"] == 2
    assert readings["cluster_quorum_headroom"] == 0
    assert status_in_force(readings, "rf1") == ["unavailable"]


def test_one_url_of_a_cluster_does_not_page() -> None:
    """With one of three peers watched nothing is claimed that the other two decide."""
    deployment = three({"peer0": HEALTHY}, watched={"peer0": PEER_IDS["peer0"]})

    readings = deployment.readings()

    assert readings["cluster_peers_known"] == 3
    assert readings["cluster_peers_watched"] == 1
    assert "cluster_quorum_headroom" not in readings
    assert "shard_live_replicas{collection=rf1,shard=1}" not in readings
    assert "collection_status{collection=rf1,status=unavailable}" not in readings
    assert readings["collection_status{collection=rf1,status=green}"] == 1
    assert "collection_points{collection=rf1}" not in readings
    assert readings["collection_complete{collection=rf1}"] == 0
    assert readings[f"replica_state{{collection=rf1,shard=1,peer=id:{PEER_IDS['peer2']},state=Active}}"] == 1


def test_peers_that_tell_other_replica_states_disagree() -> None:
    """One peer that missed the news calls a replica Dead."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    assert deployment.readings()["peer_view_disagreement{kind=replicas}"] == 0
    told = recording(f"{HEALTHY}/peer1/telemetry_3").json
    shard_of(told, "rf3", 0)["replicate_states"][str(PEER_IDS["peer2"])] = "Dead"

    deployment.telemetry("peer1", told)

    assert deployment.readings()["peer_view_disagreement{kind=replicas}"] == 1


def test_the_peer_with_the_highest_term_and_commit_is_believed() -> None:
    """Two views of a replica: the one of the newer commit is told."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    told = recording(f"{HEALTHY}/peer1/telemetry_3").json
    shard_of(told, "rf3", 0)["replicate_states"][str(PEER_IDS["peer2"])] = "Dead"
    told["result"]["cluster"]["status"]["commit"] += 1

    deployment.telemetry("peer1", told)

    readings = deployment.readings()
    assert readings["replica_state{collection=rf3,shard=0,peer=peer2,state=Dead}"] == 1
    assert readings["shard_live_replicas{collection=rf3,shard=0}"] == 2


def test_what_was_read_longer_than_three_intervals_ago_is_gone() -> None:
    """The Board forgets, so nothing stale is derived."""
    deployment = single(f"{V18}/single/green")
    assert "collection_points{collection=docs}" in deployment.readings()

    deployment.clock.advance(45.5)

    assert not [series for series in deployment.readings() if series.startswith("collection")]


def test_segments_from_before_a_restart_are_not_joined_with_what_came_after() -> None:
    """A new process id: its segments have other numbers, or are not loaded."""
    deployment = single(f"{V18}/single/green")
    told = copy.deepcopy(recording(f"{V18}/single/green/telemetry_3").json)
    told["result"]["id"] = "another-process"

    deployment.telemetry("qdrant:6333", told)

    readings = deployment.readings()
    assert "collection_segments{collection=docs}" not in readings
    assert "collection_points{collection=docs}" in readings


def test_collections_over_the_cap_and_excluded_ones_are_counted_as_dropped() -> None:
    """The first by name stay, so that the choice is the same at every poll."""
    deployment = single(f"{V18}/single/green", cap=2, selects=lambda name: name != "binary")

    derived = deployment.derive()
    readings = deployment.readings()

    assert derived.selected == ("deferred", "docs")
    assert readings["collections"] == 7
    assert readings["collections_dropped"] == 5


def test_expected_collections_may_be_aliases_and_are_missed_when_gone() -> None:
    """docs exists, docs_live is an alias of it, nothing is called lost."""
    deployment = single(f"{V18}/single/green", expected=("docs", "docs_live", "lost"))
    deployment.tell("qdrant:6333", "aliases", read(recording(f"{V18}/single/green/aliases").body))

    readings = deployment.readings()

    assert readings["collection_expected_present{collection=docs}"] == 1
    assert readings["collection_expected_present{collection=docs_live}"] == 1
    assert readings["collection_expected_present{collection=lost}"] == 0


def test_what_backups_cover_is_expected_as_what_is_configured() -> None:
    """Each name once, also where both say it."""
    besides = {"docs": frozenset[str](), "lost": frozenset[str]()}
    deployment = single(f"{V18}/single/green", expected=("docs",), also_expected=besides)
    deployment.tell("qdrant:6333", "aliases", read(recording(f"{V18}/single/green/aliases").body))

    readings = deployment.readings()

    assert readings["collection_expected_present{collection=docs}"] == 1
    assert readings["collection_expected_present{collection=lost}"] == 0


def test_a_collection_whose_aliases_stand_for_another_now_was_deleted_on_purpose() -> None:
    """So collections are exchanged; one that is named in the configuration is expected all the same."""
    besides = {"docs_v1": {"docs_live"}, "lost": {"docs_live", "gone_with_it"}, "written": {"docs_live"}}
    deployment = single(f"{V18}/single/green", expected=("written",), also_expected=besides)
    deployment.tell("qdrant:6333", "aliases", read(recording(f"{V18}/single/green/aliases").body))

    readings = deployment.readings()

    assert "collection_expected_present{collection=docs_v1}" not in readings
    assert readings["collection_expected_present{collection=lost}"] == 0
    assert readings["collection_expected_present{collection=written}"] == 0


def test_an_alias_told_before_its_collection_was_deleted_hides_no_loss() -> None:
    """Aliases are told every ten minutes; deleting a collection took them with it."""
    deployment = single(f"{V18}/single/green", also_expected={"docs": {"docs_live"}})
    deployment.tell("qdrant:6333", "aliases", read(recording(f"{V18}/single/green/aliases").body))
    told = recording(f"{V18}/single/green/telemetry_3").json
    collections = told["result"]["collections"]["collections"]
    collections[:] = [one for one in collections if one["id"] != "docs"]

    deployment.telemetry("qdrant:6333", told)

    assert deployment.readings()["collection_expected_present{collection=docs}"] == 0


def test_an_unwatched_outage_leaves_expected_collections_undecided() -> None:
    """No peer answered: nothing is known of what exists."""
    deployment = Deployment({"qdrant:6333": None}, expected=("docs",))
    deployment.fail("qdrant:6333", "telemetry")

    assert "collection_expected_present{collection=docs}" not in deployment.readings()


def test_every_odd_collection_name_keeps_its_own_readings() -> None:
    """Newline, space, percent, unicode and emoji, as a real server accepted them."""
    readings = single(f"{V18}/single/small").readings()
    told = recording(f"{V18}/single/small/telemetry_3").json["result"]["collections"]["collections"]

    assert all(f"collection_points{{collection={one['id']}}}" in readings for one in told)
    assert any("\n" in one["id"] for one in told)


def test_an_expected_name_that_may_be_an_alias_is_undecided_until_the_aliases_are_known() -> None:
    """A zero there would page for a collection that is there under another name."""
    deployment = single(f"{V18}/single/green", expected=("docs", "docs_live"))

    readings = deployment.readings()

    assert readings["collection_expected_present{collection=docs}"] == 1
    assert "collection_expected_present{collection=docs_live}" not in readings


def test_a_peer_whose_first_poll_has_not_ended_decides_nothing() -> None:
    """At the daemon's start the peers answer one after the other."""
    deployment = Deployment(PEER_IDS)
    deployment.recorded("peer0", f"{HEALTHY}/peer0")

    readings = deployment.readings()

    assert "shard_live_replicas{collection=rf1,shard=1}" not in readings
    assert "collection_status{collection=rf1,status=unavailable}" not in readings


def test_a_collection_created_between_two_polls_is_not_unavailable_for_it() -> None:
    """Peer 1 was asked before the news: what it does not list yet it says nothing of."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    told = recording(f"{HEALTHY}/peer1/telemetry_3").json
    collections = told["result"]["collections"]["collections"]
    collections[:] = [one for one in collections if one["id"] != "rf1"]
    told["result"]["cluster"]["status"]["commit"] -= 3

    deployment.telemetry("peer1", told)

    readings = deployment.readings()
    assert [
        series for series in readings if series.startswith("shard_live_replicas{collection=rf1,shard=2")
    ] == []
    assert "collection_status{collection=rf1,status=unavailable}" not in readings
    assert readings["shard_live_replicas{collection=rf1,shard=0}"] == 1
    assert readings["collection_status{collection=rf1,status=green}"] == 1


def test_a_shard_that_resharding_is_still_filling_makes_nothing_unavailable() -> None:
    """Nobody reads from it yet; its replicas show their state."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    for peer in PEER_IDS:
        told = recording(f"{HEALTHY}/{peer}/telemetry_3").json
        new = copy.deepcopy(shard_of(told, "rf3", 0))
        new.update(id=1, local=None, replicate_states={str(PEER_IDS["peer0"]): "Resharding"})
        next(one for one in told["result"]["collections"]["collections"] if one["id"] == "rf3")[
            "shards"
        ].append(new)
        deployment.telemetry(peer, told)

    readings = deployment.readings()

    assert status_in_force(readings, "rf3") == ["green"]
    assert readings["collection_points{collection=rf3}"] == 3_000
    assert readings["collection_shards{collection=rf3}"] == 2
    assert readings["replica_state{collection=rf3,shard=1,peer=peer0,state=Resharding}"] == 1
    assert "shard_live_replicas{collection=rf3,shard=1}" not in readings


def test_a_peer_that_was_cut_off_is_not_believed_for_its_higher_term() -> None:
    """It stands for election again and again; the others went on without it."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    told = recording(f"{HEALTHY}/peer1/telemetry_3").json
    told["result"]["cluster"]["status"].update(term=40, role="Candidate")
    shard_of(told, "rf3", 0)["replicate_states"][str(PEER_IDS["peer2"])] = "Dead"

    deployment.telemetry("peer1", told)

    assert deployment.readings()["replica_state{collection=rf3,shard=0,peer=peer2,state=Active}"] == 1


@pytest.mark.parametrize("number", [10**320, -5, 1.5, "many", None])
def test_a_number_that_no_server_counts_costs_its_collection_and_nothing_else(number: Any) -> None:
    """A number of 321 digits has no float; negative points are no points. The collection exists."""
    deployment = Deployment({"qdrant:6333": None}, expected=("docs",))
    told = recording(f"{V18}/single/green/telemetry_3").json
    local_shard(told, "docs", 0)["num_points"] = "?"
    body = json.dumps(told).replace('"num_points": "?"', f'"num_points": {json.dumps(number)}')
    telemetry_told = result(body.encode(), Telemetry, "/telemetry")

    deployment.tell(
        "qdrant:6333", "telemetry", read_telemetry(telemetry_told, Remembered(endpoint="/telemetry"), Parts())
    )

    readings = deployment.readings()
    assert "collection_points{collection=docs}" not in readings
    assert readings["collection_points{collection=noindex}"] == 30_000
    assert readings["collections"] == 7
    assert readings["collection_expected_present{collection=docs}"] == 1


def test_a_collection_that_does_not_read_at_one_peer_is_told_by_another() -> None:
    """The peer whose word counts sends something odd; the collection goes on being told of."""
    deployment = three(dict.fromkeys(PEER_IDS, HEALTHY))
    told = recording(f"{HEALTHY}/peer0/telemetry_3").json
    shard_of(told, "rf3", 0)["replicate_states"] = 7

    deployment.telemetry("peer0", told)

    readings = deployment.readings()
    assert readings["collection_points{collection=rf3}"] == 3_000
    assert "collection_status{collection=rf3,status=unavailable}" in readings
    assert "shard_live_replicas{collection=rf3,shard=0}" not in readings


def shard_of(told: Any, collection: str, shard: int) -> Any:
    collections = told["result"]["collections"]["collections"]
    found = next(one for one in collections if one["id"] == collection)
    return next(one for one in found["shards"] if one["id"] == shard)


def local_shard(told: Any, collection: str, shard: int) -> Any:
    return shard_of(told, collection, shard)["local"]
