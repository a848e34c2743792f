"""Vectors to search with: what was stored comes back as it was, in turn, and within the limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.config.queries_file import WrittenQuery
from exporter.errors import BadPayload
from exporter.observe.probes.pool import (
    REFRESH_SECONDS,
    REFRESHED_A_TIME,
    VECTORS_A_NAME,
    Pool,
    Query,
    WrittenPool,
    estimated_bytes,
    points_that_fit,
)
from exporter.observe.sources.telemetry import VectorSeen
from exporter.qdrant.search import QUERY_ENDPOINT, FoundPoint, PointId, read_points
from tests.kit.recordings import recording

PLENTY_BYTES = 1 << 20
NOW = 1_000.0

some = settings(max_examples=100, deadline=None)

spaces = st.sampled_from(["", "", " ", "\n  ", "\t"])
numbers = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),  # float32
    st.floats(width=16, allow_nan=False, allow_infinity=False).map(repr),  # float16
    st.integers(0, 255).map(lambda value: f"{value}.0"),  # uint8, as the server writes it
    st.integers(0, 255).map(str),
    st.sampled_from(["-0.0", "1e-7", "1.5E+3", "0.30000000000000004", "123456789.123456789"]),
)


def lists_of(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Make JSON lists, spaced in any way."""
    return st.tuples(st.lists(items, min_size=1, max_size=5), spaces).map(
        lambda made: f"[{made[1]}{f',{made[1]}'.join(made[0])}{made[1]}]"
    )


dense = lists_of(numbers)
multi = lists_of(lists_of(numbers))
sparse = st.tuples(lists_of(st.integers(0, 2**32 - 1).map(str)), lists_of(numbers), spaces).map(
    lambda made: f'{{"indices":{made[2]}{made[0]},{made[2]}"values": {made[1]}}}'
)
KINDS: Mapping[str, st.SearchStrategy[str]] = {
    "title": dense,
    "bm25": sparse,
    "colbert": multi,
    "größe": dense,
}
ids = st.integers(0, 2**64 - 1) | st.uuids().map(str)

unnamed_points = st.dictionaries(ids, st.none() | dense | multi, max_size=20)
named_points = st.dictionaries(ids, st.fixed_dictionaries({}, optional=KINDS), max_size=20)


def answer(points: Mapping[PointId, str | Mapping[str, str] | None]) -> tuple[FoundPoint, ...]:
    """Read an answer that holds these points, its vectors byte for byte as given."""
    texts = []
    for point_id, vector in points.items():
        if isinstance(vector, Mapping):
            inside = ", ".join(
                f"{msgspec.json.encode(name).decode()} : {text}" for name, text in vector.items()
            )
            vector = f"{{{inside}}}"
        part = "" if vector is None else f', "vector": {vector}'
        texts.append(f'{{"id": {msgspec.json.encode(point_id).decode()}, "version": 0, "score": 1.0{part}}}')
    body = f'{{"result": {{"points": [{", ".join(texts)}]}}, "status": "ok", "time": 0.0001}}'
    return tuple(read_points(body.encode(), QUERY_ENDPOINT).result.points)


def filled(*vectors: str, limit_bytes: int = PLENTY_BYTES) -> Pool:
    """Return a pool of unnamed vectors of the points 0, 1, ..."""
    pool = Pool(limit_bytes=limit_bytes)
    pool.put(answer(dict(enumerate(vectors))), [""], NOW)
    return pool


def drawn(pool: Pool, name: str, times: int) -> list[Query]:
    """Draw so many queries, each of which must be there."""
    queries = [pool.next(name) for _ in range(times)]
    assert all(query is not None for query in queries)
    return [query for query in queries if query is not None]


@some
@given(unnamed_points)
def test_an_unnamed_vector_comes_out_byte_for_byte_with_its_own_id(
    points: dict[PointId, str | None],
) -> None:
    """Dense or of several rows, in whatever way the server wrote its numbers."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    pool.put(answer(points), [""], NOW)

    kept = [(one, text) for one, text in points.items() if text is not None][-VECTORS_A_NAME:]
    expected = [Query(text.encode(), "", own_id=one) for one, text in kept]
    assert expected == drawn(pool, "", len(kept))
    assert pool.held_bytes == sum(len(text.encode()) for _, text in kept)


@some
@given(named_points)
def test_a_named_vector_comes_out_byte_for_byte_and_points_without_it_are_passed_over(
    points: dict[PointId, dict[str, str]],
) -> None:
    """Every kind under its own name, from points that have some of them or none."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    pool.put(answer(points), list(KINDS), NOW)

    for name in KINDS:
        kept = [(one, texts[name]) for one, texts in points.items() if name in texts][-VECTORS_A_NAME:]
        expected = [Query(text.encode(), name, own_id=one) for one, text in kept]
        assert expected == drawn(pool, name, len(kept))


def test_beside_sparse_ones_the_unnamed_vector_is_told_under_no_name() -> None:
    """Alone on its point it is told as itself, with others as one of an object."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    pool.put(
        answer({1: "[0.5]", 2: {"": "[0.25]", "bm25": '{"indices":[3],"values":[1.0]}'}}), ["", "bm25"], NOW
    )

    assert [query.vector for query in drawn(pool, "", 2)] == [b"[0.5]", b"[0.25]"]
    assert [query.own_id for query in drawn(pool, "bm25", 2)] == [2, 2]


@pytest.mark.parametrize("version", ["v1.12.6", "v1.16.3", "v1.18.3"])
@pytest.mark.parametrize(
    ("answered", "name", "points", "size"),
    [("sample_random", "", 3, 128), ("scroll", "", 2, 128), ("named_sample", "title", 1, 64)],
)
def test_recorded_samples_fill_the_pool(
    version: str, answered: str, name: str, points: int, size: int
) -> None:
    """What servers said; a number took as many bytes as we reckon with, or fewer."""
    seen = recording(f"{version}/single/query/{answered}")
    told = seen.json["result"]["points"]
    pool = Pool(limit_bytes=PLENTY_BYTES)
    pool.put(read_points(seen.body, QUERY_ENDPOINT).result.points, [name], NOW)

    queries = drawn(pool, name, points)

    assert len(told) == points
    assert [query.own_id for query in queries] == [one["id"] for one in told]
    vectors = [msgspec.json.decode(query.vector) for query in queries]
    assert vectors == [one["vector"][name] if name else one["vector"] for one in told]
    assert pool.held_bytes <= 1.1 * points * estimated_bytes(VectorSeen(name, size, "Cosine"))


def test_queries_come_each_in_turn() -> None:
    """And then from the start again."""
    pool = filled("[1]", "[2]", "[3]")

    assert [query.own_id for query in drawn(pool, "", 7)] == [0, 1, 2, 0, 1, 2, 0]


def test_each_taker_meets_every_query() -> None:
    """Two that share their turns would each meet the same half for ever."""
    pool = filled("[1]", "[2]", "[3]", "[4]")
    written = WrittenPool([WrittenQuery(b"[1]"), WrittenQuery(b"[2]")])

    taken: dict[str, list[bytes]] = {"search": [], "recall": []}
    wrote: dict[str, list[bytes]] = {"search": [], "recall": []}
    for _ in range(4):
        for taker in taken:
            query = pool.next("", taker)
            assert query is not None
            taken[taker].append(query.vector)
            wrote[taker].append(written.next("", taker).vector)

    assert list(taken.values()) == [[b"[1]", b"[2]", b"[3]", b"[4]"]] * 2
    assert list(wrote.values()) == [[b"[1]", b"[2]"] * 2] * 2


@pytest.mark.parametrize("taken", [0, 1, 7, VECTORS_A_NAME])
def test_of_many_the_newest_are_kept(taken: int) -> None:
    """A refresh takes the place of the oldest, whichever was drawn last."""
    pool = filled(*(f"[{number}]" for number in range(VECTORS_A_NAME)))
    drawn(pool, "", taken)
    pool.put(answer({100: "[100]", 101: "[101]"}), [""], NOW)

    kept = {query.own_id for query in drawn(pool, "", 2 * VECTORS_A_NAME)}

    assert kept == {*range(2, VECTORS_A_NAME), 100, 101}


def test_a_point_that_is_fetched_again_is_held_once_and_as_it_is_now() -> None:
    """It may have been written anew; and a small collection is fetched whole each time."""
    pool = filled("[1]", "[2]", "[3]")
    pool.put(answer({1: "[22]", 3: "[4]"}), [""], NOW)

    queries = drawn(pool, "", 8)

    assert [query.vector for query in queries] == [b"[1]", b"[3]", b"[22]", b"[4]"] * 2
    assert [query.own_id for query in queries] == [0, 2, 1, 3] * 2
    assert pool.held_bytes == len("[1][3][22][4]")


def test_a_small_collection_that_is_fetched_again_and_again_fills_no_memory() -> None:
    """Three points are three queries, a week later too."""
    pool = filled("[1]", "[2]", "[3]")
    for turn in range(1_000):
        pool.put(answer({0: "[1]", 1: "[2]", 2: "[3]"}), [""], NOW + turn * REFRESH_SECONDS)
        pool.next("")

    assert pool.held_bytes == 9
    assert sorted(query.vector for query in drawn(pool, "", 3)) == [b"[1]", b"[2]", b"[3]"]


def test_a_number_and_a_text_that_look_alike_are_two_points() -> None:
    """Ids are told apart by their kind too."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    pool.put(answer({1: "[1]", "1": "[2]"}), [""], NOW)

    assert [query.own_id for query in drawn(pool, "", 2)] == [1, "1"]


def test_a_point_is_held_once_for_each_of_its_vectors() -> None:
    """One that has two is searched by both."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    for number in (1, 2):
        pool.put(answer({7: {"title": f"[{number}]", "body": f"[{number}0]"}}), ["title", "body"], NOW)

    assert [query.vector for query in drawn(pool, "title", 2)] == [b"[2]"] * 2
    assert [query.vector for query in drawn(pool, "body", 2)] == [b"[20]"] * 2
    assert pool.held_bytes == len("[2][20]")


@some
@given(st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=20), max_size=8))
def test_of_points_fetched_again_and_again_the_newest_are_held_once(
    fetched: list[list[tuple[int, int]]],
) -> None:
    """In the order of their last fetch, each as it was then."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    expected: dict[PointId, bytes] = {}
    for points in fetched:
        told: dict[PointId, str] = {one: f"[{'1' * size}]" for one, size in points}
        pool.put(answer(told), [""], NOW)
        for one, text in told.items():
            expected.pop(one, None)
            expected[one] = text.encode()
        expected = dict(list(expected.items())[-VECTORS_A_NAME:])

    queries = drawn(pool, "", len(expected))

    assert [(query.own_id, query.vector) for query in queries] == list(expected.items())
    assert pool.held_bytes == sum(map(len, expected.values()))


names = st.sampled_from(["a", "b", "c"])
sizes = st.integers(1, 400)
moves = st.lists(
    names | st.lists(st.dictionaries(names, sizes, max_size=3), min_size=1, max_size=20), max_size=30
)


@some
@given(st.integers(0, 2_000), moves)
def test_the_memory_held_is_within_the_limit_or_the_newest_of_each_name(
    limit_bytes: int, played: Sequence[str | list[dict[str, int]]]
) -> None:
    """Whatever was put and drawn; and what does not fit even alone is drawn once and not kept."""
    pool = Pool(limit_bytes=limit_bytes)
    newest: dict[str, int] = {}
    for move in played:
        if isinstance(move, str):
            query = pool.next(move)
            assert query is None or query.using == move
        else:
            found = {
                one: {name: f"[{'1' * size}]" for name, size in sizes_of.items()}
                for one, sizes_of in enumerate(move)
            }
            pool.put(answer(found), ["a", "b", "c"], NOW)
            newest |= {name: size + 2 for sizes_of in move for name, size in sizes_of.items()}

        assert pool.held_bytes >= 0
        assert pool.held_bytes <= limit_bytes or pool.held_bytes <= sum(newest.values())
    for name in "abc":
        pool.next(name)

    assert pool.held_bytes <= limit_bytes


@some
@given(st.lists(st.tuples(st.integers(0, 20), names, sizes), min_size=1, max_size=40))
def test_a_drained_pool_holds_nothing(put: list[tuple[int, str, int]]) -> None:
    """What is counted is what is kept, to the byte, also where points were fetched again."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    for number, name, size in put:
        pool.put(answer({number: {name: f"[{'1' * size}]"}}), ["a", "b", "c"], NOW)

    pool.limit_bytes = -1  # nothing fits any more: each is handed out and not kept
    for name in "abc":
        while pool.next(name) is not None:
            pass

    assert pool.held_bytes == 0


def test_where_memory_is_short_the_largest_vectors_go_first() -> None:
    """One multivector takes as much as a hundred others."""
    points = {number: {"small": "[1]", "large": f"[{'1' * 98}]"} for number in range(8)}
    pool = Pool(limit_bytes=200)
    pool.put(answer(points), ["small", "large"], NOW)

    large = {query.own_id for query in drawn(pool, "large", 4)}
    small = {query.own_id for query in drawn(pool, "small", 16)}

    assert large == {7}
    assert small == set(range(8))


def test_a_limit_that_shrank_is_kept_as_queries_are_drawn() -> None:
    """Other collections came, and share it."""
    pool = filled("[1]", "[2]", "[3]", "[4]")
    pool.limit_bytes = 6

    order = [query.own_id for query in drawn(pool, "", 6)]

    assert pool.held_bytes == 6
    assert order == [0, 1, 2, 3, 2, 3]


def test_an_empty_pool_wants_many_a_filled_one_a_few_every_ten_minutes() -> None:
    """So that the sample follows the data at little cost."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    wanted = [pool.wants([""], NOW)]
    pool.put(answer({1: "[1]"}), [""], NOW)
    wanted += [pool.wants([""], NOW + later) for later in (0.0, REFRESH_SECONDS - 0.001, REFRESH_SECONDS)]
    pool.put(answer({2: "[2]"}), [""], NOW + REFRESH_SECONDS)
    wanted += [pool.wants([""], NOW + later) for later in (REFRESH_SECONDS, 2 * REFRESH_SECONDS)]

    assert wanted == [VECTORS_A_NAME, 0, 0, REFRESHED_A_TIME, 0, REFRESHED_A_TIME]


def test_a_vector_that_was_not_fetched_yet_is_wanted_at_once() -> None:
    """A collection may get another vector."""
    pool = filled("[1]")

    assert pool.wants(["", "bm25"], NOW) == VECTORS_A_NAME


def test_a_vector_that_no_point_has_is_not_fetched_for_at_every_run() -> None:
    """It is named in the settings and never written: the others' queries are there all the same."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    pool.put(answer({1: {"title": "[1]"}}), ["title", "body"], NOW)

    wanted = [pool.wants(["title", "body"], NOW + later) for later in (0.0, 60.0, REFRESH_SECONDS)]
    pool.put(answer({2: {"body": "[2]"}}), ["title", "body"], NOW + REFRESH_SECONDS)
    drawn_since = pool.next("body")

    assert wanted == [0, 0, REFRESHED_A_TIME]
    assert drawn_since == Query(b"[2]", "body", own_id=2)


def test_a_query_that_was_not_kept_is_wanted_again() -> None:
    """It took more than the limit, alone."""
    pool = filled("[12345]", limit_bytes=3)
    before = pool.wants([""], NOW)
    pool.next("")

    assert (before, pool.wants([""], NOW)) == (0, VECTORS_A_NAME)


def test_where_nothing_is_stored_there_is_no_query() -> None:
    """A made-up one would say nothing."""
    pool = Pool(limit_bytes=PLENTY_BYTES)
    pool.put((), [""], NOW)

    assert pool.next("") is None
    assert pool.wants([""], NOW) == VECTORS_A_NAME
    assert pool.held_bytes == 0


def test_a_pool_that_was_cleared_begins_anew() -> None:
    """The collection is another one now."""
    pool = filled("[1]", "[2]")
    pool.clear()

    assert pool.next("") is None
    assert pool.wants([""], NOW) == VECTORS_A_NAME
    assert pool.held_bytes == 0


def unreadable_points() -> tuple[FoundPoint, ...]:
    """Two points; the vectors of the second have a name that is no text."""
    body = b'{"result":{"points":[{"id":1,"vector":{"a":[1,2]}},{"id":2,"vector":{"\xff":[1]}}]},"time":0.1}'
    return tuple(read_points(body, QUERY_ENDPOINT).result.points)


def test_vectors_that_do_not_read_are_a_bad_answer() -> None:
    """Not a crash, and nothing that a search could be made with."""
    pool = Pool(limit_bytes=PLENTY_BYTES)

    with pytest.raises(BadPayload):
        pool.put(unreadable_points(), ["a"], NOW)


def test_answers_that_do_not_read_fill_no_memory() -> None:
    """The next run asks again, and so does every one after it."""
    pool = Pool(limit_bytes=10)

    for _ in range(100):
        with pytest.raises(BadPayload):
            pool.put(unreadable_points(), ["a"], NOW)

    assert pool.held_bytes <= 10


def test_written_queries_come_each_in_turn_with_their_own_vector_and_filter() -> None:
    """One that names no vector is for the one whose turn it is."""
    pool = WrittenPool([WrittenQuery(b"[1]"), WrittenQuery(b"7", using="bm25", filter=b'{"must":[]}')])

    queries = [pool.next(name) for name in ("title", "title", "body")]

    assert queries == [
        Query(b"[1]", "title"),
        Query(b"7", "bm25", filter=b'{"must":[]}'),
        Query(b"[1]", "body"),
    ]


@pytest.mark.parametrize(
    ("vector", "size_bytes"),
    [
        (VectorSeen("", 1_536, "Cosine"), 18_432),
        (VectorSeen("colbert", 128, "Cosine", multi=True), 49_152),
        (VectorSeen("bm25", None, None), 2_000),
    ],
)
def test_what_a_vector_takes_is_estimated_by_its_kind(vector: VectorSeen, size_bytes: int) -> None:
    """Before one was fetched, to ask for as many as fit."""
    assert estimated_bytes(vector) == size_bytes


@some
@given(
    st.lists(
        st.builds(VectorSeen, st.just("v"), st.none() | st.integers(1, 65_536), st.none(), st.booleans())
    ),
    st.integers(1, VECTORS_A_NAME),
    st.integers(0, 1 << 25),
)
def test_as_many_points_are_fetched_as_are_wanted_and_fit_and_one_at_least(
    vectors: list[VectorSeen], wanted: int, limit_bytes: int
) -> None:
    """Without one there would be no probe at all."""
    points = points_that_fit(vectors, wanted, limit_bytes)

    assert 1 <= points <= wanted
    assert points == 1 or points * sum(map(estimated_bytes, vectors)) <= limit_bytes
