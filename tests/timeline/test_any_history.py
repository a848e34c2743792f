"""Whatever happens: beginnings and ends alternate, nothing is forgotten, and quiet is quiet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.alerting.inhibition import Pair
from exporter.alerting.words import AlertState, Notification, NotificationKind
from tests.kit.timeline import ALERTMANAGER, OPS, PAGER, Timeline, a_rule, critical, warning

DISK = a_rule("DiskUsed", critical(60.0), warning(60.0), keep_firing_for=30.0)
DOWN = a_rule("PeerDown", critical(30.0))
RED = a_rule("CollectionRed", warning(120.0))
RULES = (DISK, DOWN, RED)
ROUTE = {
    "receiver": "ops",
    "group_interval": "1m",
    "repeat_interval": "10m",
    "routes": [
        {"receiver": "am", "continue": True},
        {"match": ["severity=critical"], "receiver": "pager", "continue": True, "group_by": ["..."]},
        {"receiver": "ops"},
    ],
}
INHIBITS = (Pair("PeerDown", "CollectionRed", ("qdrant_cluster",)),)
FOREVER = 86_400.0

found = st.tuples(
    st.just("set"),
    st.sampled_from(RULES),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([True, True, True, False, False, None, "gone"]),
    st.sampled_from([None, "warning", "critical"]),
)
others = st.one_of(
    st.tuples(st.just("run"), st.sampled_from([0, 15, 45, 100, 400, 1_500])),
    st.tuples(st.just("restart"), st.sampled_from([0, 20, 200, 4_000])),
    st.tuples(
        st.just("silence"), st.sampled_from(["peer=a", "severity=warning"]), st.sampled_from([50, 900])
    ),
    st.tuples(st.just("unsilence")),
    st.tuples(st.just("put clock on"), st.sampled_from([25, 100, 4_000])),
    st.tuples(st.just("rules"), st.sampled_from([RULES, (DOWN, RED), (DISK, DOWN)])),
    st.tuples(st.just("key"), st.sampled_from(["ops-1", "ops-2"])),
)
histories = st.lists(st.one_of(found, found, others, st.tuples(st.just("run"), st.just(30))), max_size=40)


def a_timeline() -> Timeline:
    """Return one with three receivers and everything that can hold something back."""
    return Timeline(*RULES, route=ROUTE, receivers=(OPS, PAGER, ALERTMANAGER), inhibits=INHIBITS)


def live(line: Timeline, action: tuple[Any, ...]) -> None:
    """Let one thing happen."""
    match action:
        case "set", rule, peer, verdict, level:
            if rule in line.rules:
                gone = "the peer is gone" if verdict == "gone" else ""
                line.set(rule.name, False if gone else verdict, peer=peer, level=level, gone=gone)
        case "run", seconds:
            line.run(seconds)
        case "restart", down:
            line.restart(down=down)
        case "silence", matcher, seconds:
            line.silence(matcher, seconds=seconds)
        case "put clock on", seconds:
            line.put_clock_on(seconds)
        case ("unsilence",):
            line.silences.clear()
        case "rules", rules:
            line.rules = rules
            line.reload()
        case "key", receiver_id:
            line.receivers = (replace(OPS, id=receiver_id), PAGER, ALERTMANAGER)
            line.reload()


def incidents(line: Timeline) -> Iterator[list[Notification]]:
    """Yield what was told, in order, for each receiver and key."""
    told: dict[tuple[str, str], list[Notification]] = defaultdict(list)
    for notification in line.notifications:
        told[notification.receiver, notification.key].append(notification)
    yield from told.values()


def check_order(line: Timeline) -> None:
    """Fail where anything but a beginning comes first, or a second one before an end."""
    for told in incidents(line):
        is_open = False
        for notification in told:
            begins = notification.kind is NotificationKind.TRIGGER
            assert begins is not is_open
            is_open = notification.kind is not NotificationKind.RESOLVE
            assert (notification.firing_count > 0) is is_open
            assert is_open or notification.resolved_count > 0


def check_heard(line: Timeline) -> None:
    """Fail where a group says that something was heard which no notification named, or the reverse."""
    last = {(told[-1].receiver, told[-1].key): told[-1] for told in incidents(line)}
    for group in line.engine.groups():
        if group.receiver == ALERTMANAGER.id:
            continue
        notification = last.get((group.receiver, group.key))
        named = () if notification is None else (alert.fingerprint for alert in notification.firing)
        assert set(group.heard) == set(named)


def heard_by_group(line: Timeline) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return what each group heard, if anything."""
    return {(group.receiver, group.key): group.heard for group in line.engine.groups() if group.heard}


@given(histories)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([("set", DOWN, "a", True, None), ("run", 100), ("restart", 4_000), ("set", DOWN, "a", False, None)])
def test_beginnings_and_ends_alternate_and_nothing_stays_heard_when_nothing_fires(
    history: list[tuple[Any, ...]],
) -> None:
    """For each receiver and key, over restarts, reloads and silences."""
    line = a_timeline()
    for action in history:
        live(line, action)
        check_order(line)
        check_heard(line)
    for rule in line.rules:
        for peer in "abc":
            line.set(rule.name, False, peer=peer)
    line.run(3 * 3_600)

    check_order(line)
    assert [group for group in line.engine.groups() if group.heard] == []
    assert line.engine.alerts() == ()
    assert [told[-1].kind for told in incidents(line)] == [NotificationKind.RESOLVE] * len(
        list(incidents(line))
    )


@given(histories)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_fires_unhindered_is_heard_by_everybody(history: list[tuple[Any, ...]]) -> None:
    """Nothing that happened before makes anybody miss an alert."""
    line = a_timeline()
    for action in history:
        live(line, action)
    line.silences.clear()
    line.run(600)

    held = line.engine.held_back()
    fires = {
        alert.fingerprint: alert.severity
        for alert in line.engine.alerts()
        if alert.state is AlertState.FIRING and alert.fingerprint not in held
    }
    heard: dict[str, set[str]] = defaultdict(set)
    for group in line.engine.groups():
        heard[group.receiver] |= set(group.heard)
    assert fires.keys() <= heard[line.receivers[0].id]
    assert fires.keys() <= {alert.fingerprint for alert in line.engine.asserted(ALERTMANAGER.id, line.now)}
    assert {each for each, severity in fires.items() if severity == "critical"} <= heard[PAGER.id]


@given(histories, st.sampled_from(["a", "b"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_silenced_for_good_is_never_told_unless_it_was_heard_before(
    history: list[tuple[Any, ...]], peer: str
) -> None:
    """From its first evaluation on."""
    line = a_timeline()
    line.silence(f"peer={peer}", seconds=FOREVER * 365)
    for action in history:
        if action[0] != "unsilence":
            live(line, action)

    told = (alert for each in line.notifications for alert in (*each.firing, *each.resolved))
    assert peer not in {alert.label("peer") for alert in told}
    asserted = line.engine.asserted(ALERTMANAGER.id, line.now)
    assert peer not in {alert.label("peer") for alert in asserted}


@given(histories)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_restart_at_once_tells_nothing_that_was_told(history: list[tuple[Any, ...]]) -> None:
    """All that is heard is stored with what it follows from."""
    line = a_timeline()
    for action in history:
        live(line, action)
    line.run(0)
    heard = heard_by_group(line)
    line.restart()
    told = line.run(0)

    assert told == []
    assert heard_by_group(line) == heard
