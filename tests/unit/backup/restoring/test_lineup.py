"""Shard keys get the ids they had: on any history of keys, and where one cannot, it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backup.restoring.lineup import (
    FILLER,
    FILLER_SHARDS,
    DropKey,
    MakeKey,
    next_step,
    obstacles,
    steps,
    unfinished,
)
from exporter.backup.words import KeyLayout
from exporter.errors import JobError


class Server:
    """Gives ids to the shards of keys as Qdrant does: the next after the highest there is, the first 1."""

    def __init__(self) -> None:
        self.keys: dict[str | int, tuple[int, ...]] = {}

    def make(self, key: str | int, shards: int) -> None:
        first = max((max(ids) for ids in self.keys.values()), default=0) + 1
        self.keys[key] = tuple(range(first, first + shards))

    def do(self, step: MakeKey | DropKey) -> None:
        if isinstance(step, MakeKey):
            self.make(step.key, len(step.shards))
            assert self.keys[step.key] == step.shards
        else:
            del self.keys[step.key]

    def layouts(self) -> tuple[KeyLayout, ...]:
        return tuple(KeyLayout(key, ids) for key, ids in self.keys.items())


# So many shards of a key, and whether it is deleted at once or at the end.
histories = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from(["stays", "goes at once", "goes later"])), max_size=12
)


def server_of(history: list[tuple[int, str]]) -> Server:
    """Return the server that has lived through this."""
    server = Server()
    for number, (shards, fate) in enumerate(history):
        server.make(number, shards)
        if fate == "goes at once":
            del server.keys[number]
    for number, (_, fate) in enumerate(history):
        if fate == "goes later":
            server.keys.pop(number, None)
    return server


@given(histories)
def test_the_steps_lead_to_the_keys_that_were_there(history: list[tuple[int, str]]) -> None:
    """Whatever was made and deleted before the backup; no filler is left."""
    wanted = server_of(history).layouts()
    server = Server()

    for step in steps(wanted, {}):
        server.do(step)

    assert obstacles(wanted) == ()
    assert server.layouts() == tuple(sorted(wanted, key=lambda layout: layout.shards))


@given(histories, st.integers(0, 30))
def test_the_steps_go_on_where_they_were_cut_off(history: list[tuple[int, str]], done: int) -> None:
    """After any number of them, from what is there alone."""
    wanted = server_of(history).layouts()
    server = Server()
    for _, step in zip(range(done), steps(wanted, {}), strict=False):
        server.do(step)

    for step in steps(wanted, server.keys):
        server.do(step)

    assert dict(server.keys) == {layout.key: layout.shards for layout in wanted}


@given(histories)
def test_fillers_never_have_many_shards_at_once(history: list[tuple[int, str]]) -> None:
    """Each has log files of its own on the server's disk."""
    server = Server()
    most = 0

    for step in steps(server_of(history).layouts(), {}):
        server.do(step)
        fillers = [ids for key, ids in server.keys.items() if str(key).startswith(FILLER)]
        most = max(most, sum(len(ids) for ids in fillers))

    assert most <= 2 * FILLER_SHARDS


def test_a_key_whose_shards_do_not_follow_each_other_is_an_obstacle() -> None:
    """After resharding: no new key gets such ids."""
    found = obstacles([KeyLayout("a", (1, 2, 9))])

    assert found == (
        "the shards of key 'a' have the ids 1, 2, 9, which the server gives to no new key"
        " (was it resharded?)",
    )


@pytest.mark.parametrize("shards", [(0,), (1, 2)])
def test_ids_that_are_taken_or_below_the_first_are_an_obstacle(shards: tuple[int, ...]) -> None:
    """The first id that a server gives is 1, and each is given once."""
    assert obstacles([KeyLayout("a", (2, 3)), KeyLayout("b", shards)])


def test_a_key_with_the_name_of_a_filler_is_an_obstacle() -> None:
    """It would be taken for one, and deleted."""
    assert obstacles([KeyLayout(f"{FILLER}1_1", (1,))]) == (
        "a shard key is called __qdrantx_gap_..., as our fillers are",
    )


def test_a_key_that_got_other_ids_cannot_be_gone_on_with() -> None:
    """Somebody else made it."""
    with pytest.raises(JobError, match="have other ids than in the backup"):
        next_step([KeyLayout("a", (2,))], {"a": (1,)})


def test_a_key_that_is_missing_below_others_cannot_be_made_any_more() -> None:
    """Ids only grow."""
    with pytest.raises(JobError, match="'a' is missing in the target"):
        next_step([KeyLayout("a", (1,)), KeyLayout("b", (2,))], {"b": (2,)})


def test_a_key_whose_shards_are_still_being_made_is_waited_for() -> None:
    """The server shows them one by one: what comes next would be counted from the wrong id."""
    wanted = [KeyLayout("a", (5, 6))]

    assert unfinished(wanted, {f"{FILLER}1_4": (1, 2)}) == (f"{FILLER}1_4",)
    assert unfinished(wanted, {f"{FILLER}1_4": (1, 2, 3, 4), "a": (5,)}) == ("a",)
    assert unfinished(wanted, {f"{FILLER}1_4": (1, 2, 3, 4), "a": (5, 6), "theirs": (7,)}) == ()


def test_a_number_and_its_text_are_two_keys() -> None:
    """7 and "7" are different keys for the server."""
    wanted = [KeyLayout(7, (1,)), KeyLayout("7", (2,))]

    made = [step.key for step in steps(wanted, {}) if isinstance(step, MakeKey)]

    assert made == [7, "7"]
