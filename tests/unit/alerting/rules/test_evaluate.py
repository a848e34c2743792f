"""What a rule says: of what is in force, of what is known and not there, of two metrics together."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.alerting.rules.evaluate import keep_histories
from exporter.board import Board
from exporter.model import ProducerKey
from tests.kit.judging import CLUSTER, Ground, rules_of
from tests.unit.alerting.rules.metrics import (
    DISK,
    ERRORS,
    EXPECTED,
    FULL_AT,
    LAG,
    LATENCY,
    LIMIT,
    QUEUE,
    RECEIVER,
    SHARDS,
    SPECS,
    STATE,
    UP,
)

Make = Callable[..., Ground]


@pytest.fixture
def ground(tmp_path: Path) -> Make:
    """Make a ground of one rule, written without its name and annotations, which do not matter."""

    def make(
        *lines: str, levels: str = "warning: {threshold: 10}", peers: tuple[str, ...] = ("a",)
    ) -> Ground:
        body = "".join(
            f"    {line}\n" for line in (*lines, f"levels: {{{levels}}}", 'annotations: {summary: "x"}')
        )
        return Ground(rules_of(tmp_path, f"rules:\n  - name: Trouble\n{body}", SPECS), peers=peers)

    return make


def lag_rule(ground: Make, *more: str, **options: object) -> Ground:
    """A rule on the lag of collections."""
    return ground("metric: lag", 'op: ">"', *more, **options)


# --- what is in force ------------------------------------------------------------------------------


def test_a_finding_is_made_of_each_series_that_is_true_and_of_no_other(ground: Make) -> None:
    """With its value, its limit and their unit."""
    one = lag_rule(ground)
    one.poll(one.reading(LAG, 11, collection="docs"), one.reading(LAG, 10, collection="logs"))

    found = one.finding()

    assert (found.labels, found.verdict) == (one.pairs(collection="docs"), True)
    assert (found.value, found.limit, found.unit) == (11, 10, "points")


def test_each_level_is_judged_by_itself(ground: Make) -> None:
    """What is beyond the worst limit is beyond the milder one too."""
    one = lag_rule(ground, levels="critical: {threshold: 50}, warning: {threshold: 10}")
    one.poll(one.reading(LAG, 60, collection="docs"), one.reading(LAG, 20, collection="logs"))

    found = [(dict(one.labels)["collection"], one.level.severity) for one in one.findings()]

    assert found == [("docs", "critical"), ("docs", "warning"), ("logs", "warning")]


def test_what_is_known_is_told_whatever_it_is_at_every_level(ground: Make) -> None:
    """An alert must hear that it is over."""
    one = lag_rule(ground, levels="critical: {threshold: 50}, warning: {threshold: 10}")
    one.poll(one.reading(LAG, 20, collection="docs"))

    found = one.findings({"collection": "docs"})

    assert [(one.level.severity, one.verdict, one.value) for one in found] == [
        ("critical", False, 20),
        ("warning", True, 20),
    ]


@pytest.mark.parametrize(
    ("op", "true", "false"),
    [
        (">", 11, 10), (">=", 10, 9), ("<", 9, 10), ("<=", 10, 11), ("==", 10, 11), ("!=", 11, 10),
    ],
)  # fmt: skip
def test_every_operator_decides(ground: Make, op: str, true: float, false: float) -> None:
    """True means trouble."""
    one = ground("metric: lag", f'op: "{op}"')
    one.poll(one.reading(LAG, true, collection="docs"), one.reading(LAG, false, collection="logs"))

    assert one.finding().labels == one.pairs(collection="docs")


def test_a_matcher_chooses_the_series(ground: Make) -> None:
    """Whole values, as regular expressions where asked for."""
    one = lag_rule(ground, 'match: {collection: {not_regex: "l.gs"}}')
    one.poll(one.reading(LAG, 99, collection="docs"), one.reading(LAG, 99, collection="logs"))

    assert one.finding().labels == one.pairs(collection="docs")


def test_what_is_no_number_is_undecided(ground: Make) -> None:
    """Nothing can be compared with it: it makes no alert and ends none."""
    one = lag_rule(ground)
    one.poll(one.reading(LAG, math.nan, collection="docs"))

    assert one.findings() == []
    assert one.finding({"collection": "docs"}).verdict is None


def test_of_what_falls_together_the_highest_counts(ground: Make) -> None:
    """One alert a collection, however many of its shards lag."""
    one = ground("metric: shards", 'op: ">"', "by: [qdrant_cluster, collection]")
    one.poll(
        one.reading(SHARDS, 11, collection="docs", shard="0"),
        one.reading(SHARDS, 30, collection="docs", shard="1"),
        one.reading(SHARDS, 5, collection="logs", shard="0"),
    )

    found = one.finding()

    assert (found.labels, found.value) == (one.pairs(collection="docs"), 30)


def test_a_change_of_the_value_in_force_among_those_that_match_is_the_same_alert(ground: Make) -> None:
    """From Partial to Recovery a replica has not healed; and it has once it is Active."""
    one = ground(
        "metric: qdrantx_replica_state", "match: {state: [Partial, Recovery]}", 'op: "=="',
        levels="warning: {threshold: 1}",
    )  # fmt: skip
    labels = {"collection": "docs", "shard": "0", "peer": "a"}
    for state in ("Partial", "Recovery"):
        one.poll(one.reading(STATE, 1, **labels, state=state))
        assert one.finding(labels)[2:4] == (one.pairs(**labels), True)

    one.poll(one.reading(STATE, 1, **labels, state="Active"))

    found = one.finding(labels)
    assert (found.verdict, found.gone) == (False, "")


def test_an_age_grows_while_nothing_lands(ground: Make) -> None:
    """The clock decides, without any new reading."""
    one = ground("metric: full_at", "reduce: age", 'op: ">"')
    one.poll(one.reading(FULL_AT, one.clock.now(), peer="a"))
    assert one.findings() == []

    one.clock.advance(11)

    found = one.finding()
    assert (found.value, found.unit) == (11, "seconds")


def test_the_time_until_a_moment_shrinks(ground: Make) -> None:
    """And is below zero once it has passed."""
    one = ground("metric: full_at", "reduce: until", 'op: "<"')
    one.poll(one.reading(FULL_AT, one.clock.now() + 15, peer="a"))
    assert one.findings() == []

    one.clock.advance(10)

    assert one.finding().value == 5


# --- two metrics -----------------------------------------------------------------------------------


def test_one_metric_is_compared_with_another_on_the_labels_that_join_them(ground: Make) -> None:
    """The other's value is the limit that the alert shows."""
    one = ground(
        "metric: shards",
        'op: "<"',
        "than: {metric: limit, on: [qdrant_cluster, collection]}",
        levels="warning: {}",
    )
    one.poll(
        one.reading(LIMIT, 2, collection="docs"),
        one.reading(SHARDS, 1, collection="docs", shard="0"),
        one.reading(SHARDS, 2, collection="docs", shard="1"),
        one.reading(SHARDS, 0, collection="logs", shard="0"),  # whose limit nobody knows
    )

    found = one.finding()

    assert (found.labels, found.value, found.limit) == (one.pairs(collection="docs", shard="0"), 1, 2)


def test_one_metric_is_divided_by_another(ground: Make) -> None:
    """The quotient is compared; over nothing it is endless."""
    one = lag_rule(ground, "divided_by: {metric: limit, on: [qdrant_cluster, collection]}")
    one.poll(
        one.reading(LAG, 110, collection="docs"), one.reading(LIMIT, 10, collection="docs"),
        one.reading(LAG, 1, collection="logs"), one.reading(LIMIT, 0, collection="logs"),
    )  # fmt: skip

    assert {dict(found.labels)["collection"]: found.value for found in one.findings()} == {
        "docs": 11,
        "logs": math.inf,
    }


def test_a_condition_on_another_metric_may_be_trouble_by_itself(ground: Make) -> None:
    """Its value and its limit are what the alert shows then."""
    one = lag_rule(ground, 'or: {metric: queue, op: ">=", threshold: 3}')
    one.poll(one.reading(LAG, 0, collection="docs"), one.reading(QUEUE, 4, collection="docs"))

    found = one.finding()

    assert (found.verdict, found.value, found.limit) == (True, 4, 3)


@pytest.mark.parametrize(("if_unknown", "found"), [("false", {"docs"}), ("true", {"docs", "more"})])
def test_a_second_condition_must_hold_too(ground: Make, if_unknown: str, found: set[str]) -> None:
    """Where it is not known the rule says what that means."""
    one = lag_rule(
        ground,
        "when: {metric: queue, on: [qdrant_cluster, collection],"
        f' op: "==", threshold: 0, if_unknown: {if_unknown}}}',
    )
    one.poll(
        *(one.reading(LAG, 99, collection=name) for name in ("docs", "logs", "more")),
        one.reading(QUEUE, 0, collection="docs"),
        one.reading(QUEUE, 1, collection="logs"),
    )

    assert {dict(finding.labels)["collection"] for finding in one.findings()} == found


def test_a_second_condition_that_failed_to_be_polled_leaves_a_known_alert_undecided(ground: Make) -> None:
    """It does not hold for sure, and it does not fail for sure."""
    one = lag_rule(ground, 'when: {metric: queue, on: [qdrant_cluster, collection], op: "==", threshold: 0}')
    one.poll(one.reading(LAG, 99, collection="docs"))
    assert one.finding({"collection": "docs"}).verdict is False

    one.poll(one.reading(LAG, 99, collection="docs"), failing=["a/cluster", "a/segments"])
    assert one.finding({"collection": "docs"}).verdict is False  # telemetry says the queue, and answered

    one.post("record:peer", one.reading(LAG, 99, collection="docs"), peer="a")
    one.poll(failing=["telemetry"])
    assert one.finding({"collection": "docs"}).verdict is None


@pytest.mark.parametrize(("queue", "excused"), [(0, False), (1, True), (None, False)])
def test_between_threshold_and_clear_a_second_condition_that_fails_says_so(
    ground: Make, queue: float | None, excused: bool
) -> None:
    """An alert that fires goes on at such a value, unless it does not count."""
    one = lag_rule(
        ground,
        'when: {metric: queue, on: [qdrant_cluster, collection], op: "==", threshold: 0}',
        levels="warning: {threshold: 10, clear: 5}",
    )
    told = () if queue is None else (one.reading(QUEUE, queue, collection="docs"),)
    one.post("lag", one.reading(LAG, 8, collection="docs"))
    one.poll(*told, failing=["telemetry"] if queue is None else [])

    found = one.finding({"collection": "docs"})

    assert (found.verdict, found.value, found.excused) == (False, 8, excused)


# --- what is not there -----------------------------------------------------------------------------


def test_a_series_that_expired_is_undecided_and_not_gone(ground: Make) -> None:
    """Its source fails: nobody knows."""
    one = lag_rule(ground)
    one.poll(one.reading(LAG, 99, collection="docs"))
    one.clock.advance(60)
    one.poll(failing=["telemetry"])

    found = one.finding({"collection": "docs"})

    assert (found.verdict, found.gone) == (None, "")


def test_a_series_without_which_its_sources_answer_is_gone(ground: Make) -> None:
    """All that could say it spoke, and did not."""
    one = lag_rule(ground, peers=("a", "b"))
    one.poll()

    found = one.finding({"collection": "docs"})

    assert (found.verdict, found.gone) == (False, "the series is gone")


@pytest.mark.parametrize("failing", ["telemetry", "b/telemetry"])
def test_one_failing_peer_is_enough_to_leave_it_open(ground: Make, failing: str) -> None:
    """What the cluster is, is derived from all its peers."""
    one = lag_rule(ground, peers=("a", "b"))
    one.poll(failing=[failing])

    assert one.finding({"collection": "docs"}).verdict is None


def test_nothing_is_gone_before_every_peer_was_heard(ground: Make) -> None:
    """After a restart the first answer is not all there is."""
    one = lag_rule(ground, peers=("a", "b"))
    assert one.finding({"collection": "docs"}).verdict is None
    one.poll(peers=["a"])

    assert one.finding({"collection": "docs"}).verdict is None


def test_a_source_that_a_metric_does_not_rest_on_may_fail(ground: Make) -> None:
    """Issues that cannot be listed hold no alert on lag open."""
    one = lag_rule(ground)
    one.poll(failing=["issues"])

    assert one.finding({"collection": "docs"}).gone == "the series is gone"


def test_a_peers_own_series_needs_that_peer_only(ground: Make) -> None:
    """Another peer that is down says nothing about this one."""
    one = ground("metric: disk", 'op: ">"', peers=("a", "b"))
    one.poll(failing=["b/telemetry"])

    assert one.finding({"peer": "a"}).gone == "the series is gone"
    one.poll(failing=["a/telemetry"])
    assert one.finding({"peer": "a"}).verdict is None


def test_a_collection_that_is_listed_no_more_is_gone_whatever_fails(ground: Make) -> None:
    """With that as the reason; while the list is not known it is undecided."""
    one = lag_rule(ground)
    one.poll(failing=["telemetry"])
    one.collections = None
    one.watch()
    assert one.finding({"collection": "docs"}).verdict is None

    one.collections = frozenset({"logs"})
    one.watch()

    assert one.finding({"collection": "docs"}).gone == "the collection is gone"


def test_a_peer_or_a_cluster_that_is_watched_no_more_is_gone(ground: Make) -> None:
    """It was taken out of the configuration."""
    one = ground("metric: disk", 'op: ">"')
    assert one.finding({"peer": "b"}).gone == "the peer is not watched any more"

    one.presence = {}

    assert one.finding({"peer": "a"}).gone == "the cluster is not watched any more"


def test_a_peer_known_by_its_id_only_is_not_called_unwatched(ground: Make) -> None:
    """Others tell of it; it was never watched."""
    one = ground("metric: disk", 'op: ">"')
    one.poll(failing=["telemetry"])

    assert one.finding({"peer": "id:17"}).verdict is None


def test_a_standing_series_without_which_its_producer_stands_is_gone(ground: Make) -> None:
    """A receiver that was taken out of the configuration."""
    one = ground("metric: receiver_up", 'op: "=="', levels="critical: {threshold: 0}")
    receiver = (("receiver", "ops"),)
    one.post("alerting", one.reading(RECEIVER, 0, receiver="ops"), cluster="")
    assert one.findings()[0].labels == receiver

    one.post("alerting", cluster="")

    [found] = one.judged([receiver])
    assert found.gone == "the series is gone"


def test_what_alerting_tells_of_itself_is_whole_from_its_first_word_on(ground: Make) -> None:
    """A queue that was told after a restart is never said to be old, and its alert must end."""
    one = ground("metric: receiver_up", 'op: "=="', levels="critical: {threshold: 0}")
    receiver = (("receiver", "ops"),)
    one.post("configuration", cluster="")
    assert one.judged([receiver])[0].verdict is None

    one.post("alerting", cluster="")

    assert one.judged([receiver])[0].gone == "the series is gone"


def test_a_probe_that_has_not_begun_says_nothing_by_its_silence(ground: Make) -> None:
    """After a restart the probes of one collection begin before those of another."""
    one = ground("metric: latency", 'op: ">"')
    one.post("search:logs", one.reading(LATENCY, 1, collection="logs"))
    assert one.finding({"collection": "docs"}).verdict is None

    one.post("search:docs", one.reading(LATENCY, 99, collection="docs"))
    assert one.finding({"collection": "docs"}).verdict is True
    one.post("search:docs")

    assert one.finding({"collection": "docs"}).gone == "the series is gone"


def test_a_probe_that_was_withdrawn_may_come_back_for_ten_minutes(ground: Make) -> None:
    """A reload stops probes and starts them anew; switched off, they are gone."""
    one = ground("metric: latency", 'op: ">"')
    one.post("search:docs", one.reading(LATENCY, 99, collection="docs"))
    assert one.finding({"collection": "docs"}).verdict is True
    one.board.withdraw(ProducerKey(CLUSTER, "", "search:docs"))
    for _ in range(40):
        assert one.finding({"collection": "docs"}).verdict is None
        one.clock.advance(15)

    assert one.finding({"collection": "docs"}).gone == "the series is gone"


def test_an_alert_on_a_collection_that_is_missing_does_not_end_because_it_is(ground: Make) -> None:
    """After a restart the list of collections is known before the aliases are."""
    one = ground("metric: qdrantx_collection_expected_present", 'op: "=="', levels="critical: {threshold: 0}")
    one.collections = frozenset()
    one.watch()
    one.poll(failing=["aliases"])
    assert one.finding({"collection": "docs"}).verdict is None
    one.poll(one.reading(EXPECTED, 0, collection="docs"))
    assert one.finding({"collection": "docs"}).verdict is True

    one.poll()  # it is expected no more

    assert one.finding({"collection": "docs"}).gone == "the series is gone"


def test_what_was_heard_after_the_derivation_says_nothing_yet(ground: Make) -> None:
    """An answer that lands while others are derived from is not in what was derived."""
    one = lag_rule(ground)
    before = one.clock.monotonic()
    one.clock.advance(1)
    one.poll()
    one.board.derive(CLUSTER, {"collections": ()}, at_seconds=before)
    assert one.finding({"collection": "docs"}).verdict is None

    one.board.derive(CLUSTER, {"collections": ()})

    assert one.finding({"collection": "docs"}).gone == "the series is gone"


def test_a_derivation_that_broke_ends_nothing(ground: Make) -> None:
    """Every source answered, and of collections nothing was made of it."""
    one = lag_rule(ground)
    one.poll()
    one.board.derive(CLUSTER, {"troubles": ()})

    assert one.finding({"collection": "docs"}).verdict is None


@pytest.mark.parametrize(
    ("on_missing", "undecided", "gone"),
    [("hold", None, False), ("resolve", False, False), ("fire", None, None)],
)
def test_on_missing_decides_what_is_not_there(
    ground: Make, on_missing: str, undecided: bool | None, gone: bool | None
) -> None:
    """Fire counts it as trouble, resolve as none; a collection that is gone is gone in any case."""
    one = lag_rule(ground, f"on_missing: {on_missing}")
    fires = on_missing == "fire"
    one.poll(failing=["telemetry"])
    assert one.finding({"collection": "docs"}).verdict is (True if fires else undecided)
    one.poll()
    assert one.finding({"collection": "docs"}).verdict is (True if fires else gone)

    found = one.finding({"collection": "dropped"})

    assert (found.verdict, found.gone) == (False, "the collection is gone")


# --- windows ---------------------------------------------------------------------------------------


def test_a_window_looks_back_over_what_was(ground: Make) -> None:
    """The lowest of 30 s is over the limit once no lower sample is in it any more."""
    one = lag_rule(ground, "reduce: {fn: min, over: 30s}")
    verdicts = []
    for value in (5, 20, 20, 20):
        one.poll(one.reading(LAG, value, collection="docs"))
        verdicts.append([found.value for found in one.findings()])
        one.clock.advance(15)

    assert verdicts == [[], [], [20], [20]]


def test_a_false_window_is_partial_until_it_lies_within_our_own_time(ground: Make) -> None:
    """What was before the start may have been trouble: an alert that fires does not end by it."""
    one = lag_rule(ground, "reduce: {fn: max, over: 60s}")
    partial = []
    for _ in range(6):
        one.poll(one.reading(LAG, 0, collection="docs"))
        partial.append(one.finding({"collection": "docs"}).partial)
        one.clock.advance(15)

    assert partial == [True, True, True, True, False, False]


def test_failures_that_happen_while_nobody_can_look_are_an_increase(ground: Make) -> None:
    """The counter was at 0 before its peer was lost, and at 3 afterwards."""
    one = ground(
        "metric: errors_total",
        "reduce: {fn: increase, over: 10m}",
        'op: ">="',
        levels="warning: {threshold: 3}",
    )
    one.poll(one.reading(ERRORS, 0, peer="a", kind="x"))
    for _ in range(6):
        one.clock.advance(15)
        one.poll(failing=["telemetry"])
        one.board.view()
    one.poll(one.reading(ERRORS, 3, peer="a", kind="x"))

    assert one.finding().value == pytest.approx(3)


def test_what_a_window_saw_counts_though_the_series_is_lost_meanwhile(ground: Make) -> None:
    """A server that starts again and again is mostly not there."""
    one = ground(
        "metric: full_at", "reduce: {fn: changes, over: 10m}", 'op: ">="', levels="critical: {threshold: 3}"
    )
    for start in range(4):
        one.poll(one.reading(FULL_AT, start, peer="a"))
        one.clock.advance(15)
    one.clock.advance(60)
    one.poll(failing=["telemetry"])
    assert one.finding().verdict is True

    one.clock.advance(600)

    assert one.finding({"peer": "a"}).verdict is None


def test_what_a_window_saw_of_a_collection_that_is_gone_is_no_alert(ground: Make) -> None:
    """Nobody is paged about what was dropped on purpose."""
    one = lag_rule(ground, "reduce: {fn: max, over: 10m}")
    one.poll(one.reading(LAG, 99, collection="docs"))
    assert one.finding().verdict is True
    one.collections = frozenset()
    one.watch()
    one.poll()

    assert one.findings() == []
    assert one.finding({"collection": "docs"}).gone == "the collection is gone"


def test_fewer_samples_than_asked_for_decide_nothing(ground: Make) -> None:
    """One high value right after the start is no average."""
    one = lag_rule(ground, "reduce: {fn: avg, over: 60s, min_samples: 3}")
    found = []
    for _ in range(4):
        one.poll(one.reading(LAG, 99, collection="docs"))
        found.append(len(one.findings()))
        one.clock.advance(15)

    assert found == [0, 0, 1, 1]


def test_a_series_that_was_0_before_anybody_kept_it_has_no_samples_yet(ground: Make) -> None:
    """A reload asks for its history only now."""
    one = ground(
        "metric: lag",
        "reduce: {fn: max, over: 60s, min_samples: 3}",
        'op: "<"',
        levels="warning: {threshold: 10}",
    )
    one.board = Board(clock=one.clock)
    one.post("lag", one.reading(LAG, 0, collection="docs"))
    keep_histories(one.board, [one.rule])
    found = []
    for _ in range(4):
        found.append(len(one.findings()))
        one.clock.advance(15)
        one.post("lag", one.reading(LAG, 0, collection="docs"))

    assert found == [0, 0, 0, 1]


@pytest.mark.parametrize(("op", "threshold", "found"), [("==", 0, 1), ("<", 1, 1), (">", 0, 0)])
def test_a_series_that_was_0_all_the_time_is_0_in_its_window_when_it_is_lost(
    ground: Make, op: str, threshold: float, found: int
) -> None:
    """Where 0 is trouble its history is kept, though it is nothing but zeros."""
    one = ground(
        "metric: lag",
        "reduce: {fn: max, over: 10m}",
        f'op: "{op}"',
        levels=f"warning: {{threshold: {threshold}}}",
    )
    one.poll(one.reading(LAG, 0, collection="docs"))
    one.clock.advance(60)
    one.poll(failing=["telemetry"])

    assert len(one.findings()) == found


def test_series_of_other_clusters_are_judged_alike(ground: Make) -> None:
    """A rule is about every cluster that is watched."""
    one = ground("metric: up", 'op: "=="', levels="critical: {threshold: 0}")
    for cluster in (CLUSTER, "archive"):
        one.post(
            "record:peer", one.reading(UP, 0, qdrant_cluster=cluster, peer="a"), peer="a", cluster=cluster
        )

    assert [dict(found.labels)["qdrant_cluster"] for found in one.findings()] == [CLUSTER, "archive"]


def test_an_unchanged_block_that_moves_to_another_producer_keeps_its_series(ground: Make) -> None:
    """Another peer speaks in its place: the same series, said by another."""
    one = ground("metric: disk", 'op: ">"')
    block = one.reading(DISK, 99, peer="a")
    one.post("first", block)
    assert one.finding().value == 99
    one.post("first")
    one.post("second", block)

    assert one.finding().value == 99
