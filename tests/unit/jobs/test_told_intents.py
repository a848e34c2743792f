"""What is told of thresholds that are changed for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from exporter.alerting.rules.load import RuleSet, load_rules
from exporter.alerting.rules.shipped import shipped_rules
from exporter.backup.storage.contract import Stored
from exporter.backup.words import FieldChange, Purpose, ThresholdIntent
from exporter.catalogue import SPECS
from exporter.errors import StoreError
from exporter.jobs.intent_records import INTENT_OPENED, intent_readings
from exporter.jobs.told_intents import TellingShelf, ToldIntents
from tests.kit.judging import CLUSTER, Ground
from tests.kit.scripted_store import ScriptedStore

HOUR = 3_600.0


def intent(number: int = 1, *, collection: str = "docs", **changed: object) -> ThresholdIntent:
    """An intent of a vacuum."""
    made = ThresholdIntent(
        id=f"20261126T023000Z-{number:06x}",
        cluster=CLUSTER,
        collection=collection,
        uuid=None,
        purpose=Purpose.VACUUM,
        opened_at=1_800_000_000.0,
        owner="a host",
        changes=(FieldChange("deleted_threshold", 0.2, 0.1, 0.2),),
    )
    return replace(made, **changed)  # type: ignore[arg-type]


class Store(ScriptedStore):
    """A store that lets something happen right after it was listed."""

    then: Callable[[], Awaitable[None]] | None = None

    async def list(self, prefix: str = "") -> AsyncIterator[Stored]:
        found = [stored async for stored in super().list(prefix)]
        then, self.then = self.then, None
        if then is not None:
            await then()
        for stored in found:
            yield stored


class Room:
    """A store, a shelf that tells, and the Board before the shipped rule."""

    def __init__(self) -> None:
        rules = load_rules(shipped_rules(), specs=SPECS, overrides={}).rules
        self.ground = Ground(RuleSet(tuple(rule for rule in rules if rule.name == "VacuumIntentOpen")))
        self.intents = ToldIntents(board=self.ground.board)
        self.store = Store(self.ground.clock)
        self.shelf = TellingShelf(self.store, self.ground.clock, self.intents)

    async def read(self) -> None:
        """Look at the store."""
        await self.intents.read(self.shelf, [CLUSTER])

    def told(self) -> dict[str, float]:
        """What stands on the Board, by collection."""
        return {
            reading.labels[1]: reading.value
            for _, readings in self.ground.board.view().blocks()
            for reading in readings
            if reading.spec is INTENT_OPENED
        }


@pytest.fixture
def room() -> Room:
    return Room()


def test_of_several_intents_of_a_collection_the_oldest_is_told() -> None:
    """Since when it is not its owner's."""
    younger = intent(2, opened_at=1_800_000_100.0)

    found = list(intent_readings(CLUSTER, [younger, intent(), intent(3, collection="images")]))

    assert [(one.labels, one.value) for one in found] == [
        ((CLUSTER, "docs"), 1_800_000_000.0),
        ((CLUSTER, "images"), 1_800_000_000.0),
    ]


async def test_what_lies_in_the_store_is_told_once_it_was_read(room: Room) -> None:
    """Whoever opened it; of other clusters nothing."""
    await room.store.put("thresholds/odd.json", b"no intent")
    await TellingShelf(room.store, room.ground.clock, ToldIntents(board=room.ground.board)).save_thresholds(
        intent()
    )
    await room.shelf.save_thresholds(intent(2, collection="images", cluster="other"))
    assert room.told() == {}

    await room.read()

    assert room.told() == {"docs": 1_800_000_000.0}
    assert room.intents.open(CLUSTER) == (intent(),)


async def test_what_is_opened_and_closed_here_is_told_at_once(room: Room) -> None:
    """And what is closed is gone."""
    await room.read()

    await room.shelf.save_thresholds(intent())
    opened = room.told()
    await room.shelf.close_thresholds(intent().id)

    assert opened == {"docs": 1_800_000_000.0}
    assert room.told() == {}


async def test_what_is_opened_while_the_store_is_looked_at_is_not_forgotten(room: Room) -> None:
    """The look began before, and knows nothing of it."""
    await room.read()
    room.store.then = lambda: room.shelf.save_thresholds(intent())

    await room.read()

    assert room.told() == {"docs": 1_800_000_000.0}


async def test_a_store_that_says_no_changes_nothing_that_is_told(room: Room) -> None:
    """What was open is taken to be open."""
    await room.shelf.save_thresholds(intent())
    await room.read()
    room.store.fail("list", "thresholds", lambda: StoreError("gone"))

    with pytest.raises(StoreError):
        await room.read()

    assert set(room.told()) == {"docs"}


async def test_thresholds_that_are_not_put_back_for_six_hours_are_told_until_they_are(room: Room) -> None:
    """Not those of a vacuum that is at it; and the alert ends with the last intent."""
    await room.read()
    await room.shelf.save_thresholds(intent(opened_at=room.ground.clock.now() - 5 * HOUR))
    assert room.ground.findings() == []

    room.ground.clock.advance(1.1 * HOUR)
    (late,) = room.ground.findings()
    await room.shelf.close_thresholds(intent().id)
    (over,) = room.ground.judged([late.labels])

    assert (late.verdict, late.level.severity) == (True, "warning")
    assert over.verdict is False


async def test_another_store_or_a_cluster_that_is_gone_is_told_of_no_more(room: Room) -> None:
    """An alert is no word about a store that nobody looks at."""
    await room.shelf.save_thresholds(intent())
    await room.read()

    room.intents.forget()

    assert room.told() == {}
    assert room.intents.open(CLUSTER) == ()
