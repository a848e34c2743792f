"""What goes into a page comes out of prometheus_client's parser, whole."""

from __future__ import annotations

import gzip
import math
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from exporter.clock import SystemClock
from exporter.exposition.renderer import Page, Renderer
from exporter.model import Histogram, Kind, MetricSpec, ProducerKey, Reading, Tally

POINTS = MetricSpec(
    name="qdrantx_collection_points",
    kind=Kind.GAUGE,
    what="Points",
    unit="points",
    source="GET /telemetry",
    labels=("qdrant_cluster", "collection"),
)
FAULTS = MetricSpec(
    name="qdrantx_source_faults_total",
    kind=Kind.COUNTER,
    what='Failures, told with a backslash \\ and\na new line and a "quote"',
    unit="failures",
    source="this daemon",
    labels=("peer",),
)
BARE = MetricSpec(
    name="qdrantx_bare", kind=Kind.GAUGE, what="No labels", unit="1", source="this daemon", labels=()
)
TOOK = Histogram(
    MetricSpec(
        name="qdrantx_took_seconds",
        kind=Kind.HISTOGRAM,
        what="Time",
        unit="seconds",
        source="this daemon",
        labels=("collection",),
    ),
    bounds=(0.001, 0.25, 2.5, 10.0),
)
SPECS = (POINTS, FAULTS, BARE)
ONE = ProducerKey("default", "one", "telemetry")
TWO = ProducerKey("default", "two", "telemetry")
DROPPED = "qdrantx_exposition_dropped_series"

ODD_NAMES = (
    "new\nline",
    "a space",
    'a "quote"',
    "back\\slash",
    "\\n is not a new line",
    "%41",
    "%a %d %s %%",
    "a/b",
    "größe-数",
    "🦀🚀",
    "{brace=",
    "line\u2028separator\x0b\x85",
    "x" * 255,
    "",
)

Sample = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture
def renderer() -> Renderer:
    """A renderer that has rendered nothing yet."""
    return Renderer(clock=SystemClock())


def samples(page: Page) -> dict[Sample, float]:
    """Return what prometheus_client reads in the page, but for our count of dropped series."""
    found: dict[Sample, float] = {}
    for family in text_string_to_metric_families(page.plain.decode()):
        for sample in family.samples:
            if sample.name != DROPPED:
                found[sample.name, tuple(sorted(sample.labels.items()))] = float(sample.value)
    return found


def dropped(page: Page) -> float:
    """Return the count of dropped series that the page tells."""
    families = {family.name: family for family in text_string_to_metric_families(page.plain.decode())}
    return families[DROPPED].samples[0].value


def expected(*blocks: tuple[Reading, ...]) -> dict[Sample, float]:
    """Return what a reader should find: of two with the same name and labels, the first."""
    found: dict[Sample, float] = {}
    for block in blocks:
        for spec, labels, value in block:
            found.setdefault((spec.name, tuple(sorted(zip(spec.labels, labels, strict=True)))), float(value))
    return found


def same(these: dict[Sample, float], those: dict[Sample, float]) -> bool:
    """Return whether both are equal, NaN being equal to NaN."""
    return these.keys() == those.keys() and all(
        value == those[key] or (math.isnan(value) and math.isnan(those[key])) for key, value in these.items()
    )


texts = st.one_of(st.sampled_from(ODD_NAMES), st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
values = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.sampled_from([0.0, -0.0, 1e22, 1e-7, 5e-324, 1.7976931348623157e308]),
)
readings = st.sampled_from(SPECS).flatmap(
    lambda spec: st.builds(Reading, st.just(spec), st.tuples(*(texts for _ in spec.labels)), values)
)
block_lists = st.lists(st.lists(readings, max_size=12).map(tuple), max_size=3)


@given(st.lists(block_lists, min_size=1, max_size=4))
def test_any_readings_parse_back_equal_whatever_was_rendered_before(
    rounds: list[list[tuple[Reading, ...]]],
) -> None:
    """A page depends on the blocks given, never on what an earlier page left behind."""
    renderer = Renderer(clock=SystemClock())

    for blocks in rounds:
        page = renderer.render([(ProducerKey("c", "p", "s"), block) for block in blocks])

        wanted = expected(*blocks)
        assert same(wanted, samples(page))
        assert len(wanted) + 1 == page.series
        assert sum(map(len, blocks)) - len(wanted) == page.dropped == dropped(page)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_collection_name_comes_through_whole(renderer: Renderer, name: str) -> None:
    """Qdrant takes new lines, quotes' cousins and emoji in names; so does the page, escaped once."""
    page = renderer.render([(ONE, (Reading(POINTS, ("default", name), 5.0),))])

    assert samples(page) == {(POINTS.name, (("collection", name), ("qdrant_cluster", "default"))): 5.0}


def test_a_lone_surrogate_in_a_name_does_not_cost_the_page(renderer: Renderer) -> None:
    """JSON can carry half a character; the rest of the page is still told."""
    page = renderer.render([(ONE, (Reading(POINTS, ("c", "\ud800"), 1.0), Reading(BARE, (), 2.0)))])

    assert samples(page)[BARE.name, ()] == 2.0


def test_numbers_are_written_as_the_format_wants_them(renderer: Renderer) -> None:
    """Whole numbers without a dot, infinities signed, NaN as it is spelt there."""
    numbers = [3.0, 0.25, math.inf, -math.inf, math.nan, 10**12, True]
    page = renderer.render(
        [(ONE, (Reading(POINTS, ("c", str(at)), number),)) for at, number in enumerate(numbers)]
    )

    written = [line.rsplit(b" ", 1)[1] for line in page.plain.splitlines() if line.startswith(b"qdrantx_c")]
    assert written == [b"3", b"0.25", b"+Inf", b"-Inf", b"NaN", b"1000000000000", b"1"]


def test_all_lines_of_a_metric_stand_together_under_one_help(renderer: Renderer) -> None:
    """Two producers with readings of two metrics each give two families, not four."""
    block = (Reading(POINTS, ("default", "docs"), 1.0), Reading(FAULTS, ("one",), 2.0))
    other = (Reading(POINTS, ("default", "logs"), 3.0), Reading(FAULTS, ("two",), 4.0))
    page = renderer.render([(ONE, block), (TWO, other)])

    heads = [line.split()[2] for line in page.plain.splitlines() if line.startswith(b"# TYPE")]
    assert {
        b"qdrantx_collection_points": 1,
        b"qdrantx_source_faults_total": 1,
        DROPPED.encode(): 1,
    } == Counter(heads)
    assert sorted(heads[:2]) == heads[:2]


def test_a_help_text_is_escaped(renderer: Renderer) -> None:
    """A backslash and a new line in a help text read back as they were."""
    page = renderer.render([(ONE, (Reading(FAULTS, ("one",), 1.0),))])

    families = list(text_string_to_metric_families(page.plain.decode()))
    assert FAULTS.help == families[0].documentation
    assert families[0].type == "counter"


def test_of_two_producers_that_say_the_same_series_the_first_is_heard(renderer: Renderer) -> None:
    """A duplicate would make Prometheus refuse the whole page, so it is left out and counted."""
    first = (Reading(POINTS, ("default", "docs"), 1.0),)
    second = (Reading(POINTS, ("default", "docs"), 2.0), Reading(POINTS, ("default", "logs"), 3.0))
    page = renderer.render([(ONE, first), (TWO, second)])

    assert expected(first, second) == samples(page)
    assert 1 == dropped(page) == page.dropped


def test_a_duplicate_is_heard_once_the_first_producer_is_silent(renderer: Renderer) -> None:
    """What was left out is not left out for good."""
    first = (Reading(POINTS, ("default", "docs"), 1.0),)
    second = (Reading(POINTS, ("default", "docs"), 2.0),)
    renderer.render([(ONE, first), (TWO, second)])
    page = renderer.render([(TWO, second)])

    assert expected(second) == samples(page)
    assert dropped(page) == 0


def test_a_reading_with_too_few_labels_costs_only_itself(renderer: Renderer) -> None:
    """A mistake of ours in one reading leaves the rest of the page."""
    block = (Reading(POINTS, ("default",), 1.0), Reading(POINTS, ("default", "docs"), 2.0))
    page = renderer.render([(ONE, block)])

    assert expected(block[1:]) == samples(page)
    assert dropped(page) == 1


def test_a_metric_declared_twice_costs_only_its_second_declaration(renderer: Renderer) -> None:
    """Two HELP lines of one name would make the page invalid."""
    again = MetricSpec(name=BARE.name, kind=Kind.GAUGE, what="Again", unit="1", source="x", labels=("peer",))
    page = renderer.render([(ONE, (Reading(BARE, (), 1.0),)), (TWO, (Reading(again, ("p",), 2.0),))])

    assert {(BARE.name, ()): 1.0} == samples(page)
    assert dropped(page) == 1


def test_a_producer_that_comes_twice_is_heard_twice(renderer: Renderer) -> None:
    """What is known of a producer and what stands of it anyway share a key."""
    known, standing = (Reading(BARE, (), 1.0),), (Reading(FAULTS, ("one",), 2.0),)
    page = renderer.render([(ONE, known), (ONE, standing)])

    assert expected(known, standing) == samples(page)


def test_the_page_ends_with_the_text_it_was_given_and_counts_its_series(renderer: Renderer) -> None:
    """The process metrics come rendered and stand last."""
    own = b"# HELP process_x X.\n# TYPE process_x gauge\nprocess_x 1.0\n"
    page = renderer.render([(ONE, (Reading(BARE, (), 1.0),))], own)

    assert page.plain.endswith(own)
    assert page.series == 3


def test_the_gzipped_page_unpacks_to_the_plain_one(renderer: Renderer) -> None:
    """Both forms say the same."""
    page = renderer.render([(ONE, (Reading(POINTS, ("default", "docs"), 1.0),))])

    assert page.plain == gzip.decompress(page.gzipped)


def test_nothing_is_kept_of_collections_that_came_and_went(renderer: Renderer) -> None:
    """A thousand generations of short-lived collections leave no more memory than one."""

    def block(generation: int) -> tuple[Reading, ...]:
        return tuple(
            Reading(POINTS, ("default", f"generation-{generation}-collection-{number}"), float(number))
            for number in range(200)
        )

    for generation in range(5):
        renderer.render([(ProducerKey("c", f"peer-{generation}", "s"), block(generation))])
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for generation in range(5, 205):
            renderer.render([(ProducerKey("c", f"peer-{generation}", "s"), block(generation))])
        grown_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    # one generation is about 60 kB; two hundred of them would be 12 MB
    assert grown_bytes < 300_000


def test_a_block_that_is_the_one_before_is_not_read_again(renderer: Renderer) -> None:
    """An unchanged producer costs nothing, however many readings it has."""

    class Watched(tuple[Reading, ...]):
        reads = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            Watched.reads += 1
            return super().__iter__()

    block = Watched((Reading(BARE, (), 1.0),))
    first = renderer.render([(ONE, block)])
    reads = Watched.reads
    second = renderer.render([(ONE, block)])

    assert reads > 0
    assert reads == Watched.reads
    assert first.plain == second.plain


def tally_of(*seconds: float) -> Tally:
    """Return a series of a histogram that has counted these values."""
    tally = Tally(TOOK)
    for value in seconds:
        tally.add(value)
    return tally


def families_of(page: Page) -> dict[str, Metric]:
    """Return what prometheus_client reads in the page, by name."""
    found = list(text_string_to_metric_families(page.plain.decode()))
    by_name = {family.name: family for family in found}
    assert len(by_name) == len(found)
    return by_name


def test_a_histogram_is_read_back_as_one_family_with_its_buckets(renderer: Renderer) -> None:
    """One HELP and one TYPE over all its parts; a bucket holds all below it, its own bound included."""
    tally = tally_of(0.0005, 0.001, 0.0011, 0.25, 2.0, 11.0)
    page = renderer.render([(ONE, (Reading(BARE, (), 1.0), *tally.readings(("docs",))))])

    family = families_of(page)[TOOK.spec.name]

    assert (family.type, family.documentation) == ("histogram", TOOK.spec.help)
    assert [(one.name.removeprefix(family.name), dict(one.labels), one.value) for one in family.samples] == [
        ("_bucket", {"collection": "docs", "le": "0.001"}, 2.0),
        ("_bucket", {"collection": "docs", "le": "0.25"}, 4.0),
        ("_bucket", {"collection": "docs", "le": "2.5"}, 5.0),
        ("_bucket", {"collection": "docs", "le": "10"}, 5.0),
        ("_bucket", {"collection": "docs", "le": "+Inf"}, 6.0),
        ("_sum", {"collection": "docs"}, 0.0005 + 0.001 + 0.0011 + 0.25 + 2.0 + 11.0),
        ("_count", {"collection": "docs"}, 6.0),
    ]
    assert page.plain.count(TOOK.spec.name.encode()) == 2 + 7
    assert page.dropped == 0


def test_a_histogram_that_counted_nothing_is_there_with_zeros(renderer: Renderer) -> None:
    """A rate over it then begins with its first value."""
    page = renderer.render([(ONE, tuple(tally_of().readings(("docs",))))])

    assert [sample.value for sample in families_of(page)[TOOK.spec.name].samples] == [0.0] * 7


@given(
    st.dictionaries(texts, st.lists(st.floats(0.0, 100.0), max_size=20), min_size=1, max_size=4),
    st.integers(1, 3),
)
def test_histograms_of_any_producers_stand_together_and_read_back(
    counted: dict[str, list[float]], producers: int
) -> None:
    """Series of several collections from several producers are one family, each with buckets that add up."""
    blocks: list[list[Reading]] = [[] for _ in range(producers)]
    for number, (name, seconds) in enumerate(counted.items()):
        blocks[number % producers] += tally_of(*seconds).readings((name,))
    page = Renderer(clock=SystemClock()).render(
        [(ProducerKey("c", str(number), "s"), tuple(block)) for number, block in enumerate(blocks)]
    )

    read = families_of(page)[TOOK.spec.name]

    assert read.type == "histogram"
    found = {(one.name, one.labels["collection"], one.labels.get("le")): one.value for one in read.samples}
    for name, seconds in counted.items():
        buckets = [found[f"{TOOK.spec.name}_bucket", name, edge] for edge in TOOK.edges]
        at_most = [sum(1 for value in seconds if value <= float(edge)) for edge in TOOK.edges]
        assert buckets == at_most
        assert found[f"{TOOK.spec.name}_count", name, None] == len(seconds)
        assert found[f"{TOOK.spec.name}_sum", name, None] == pytest.approx(sum(seconds))
    assert len(found) == len(counted) * (len(TOOK.edges) + 2) == page.series - 1


def test_of_two_producers_with_the_same_histogram_the_first_is_heard_whole(renderer: Renderer) -> None:
    """Half of one and half of the other would be neither's."""
    first, second = tuple(tally_of(0.1).readings(("docs",))), tuple(tally_of(5.0, 5.0).readings(("docs",)))
    page = renderer.render([(ONE, first), (TWO, second)])

    assert [one.value for one in families_of(page)[TOOK.spec.name].samples] == [one.value for one in first]
    assert page.dropped == len(second)


def test_a_histogram_that_moved_on_is_written_anew(renderer: Renderer) -> None:
    """What is kept of the page before is its series, not its values."""
    tally = tally_of(0.1)
    renderer.render([(ONE, tuple(tally.readings(("docs",))))])
    tally.add(0.5)
    page = renderer.render([(ONE, tuple(tally.readings(("docs",))))])

    samples_of = families_of(page)[TOOK.spec.name].samples
    assert [one.value for one in samples_of] == [0.0, 1.0, 2.0, 2.0, 2.0, 0.6, 2.0]
