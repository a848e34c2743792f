"""What was asked for, and what came of it: plain data, from which text and JSON are made. No I/O."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from exporter.errors import ExporterError, SourceError
from exporter.observe.probes.book import BOUNDS_SECONDS, MIN_SAMPLES_P95, MIN_SAMPLES_P99
from exporter.observe.probes.reasons import Failure, Skip, reason_of
from exporter.observe.probes.searches import is_tied, truth_of
from exporter.observe.probes.windows import percentile
from exporter.observe.sources.telemetry import VectorSeen
from exporter.qdrant.search import FoundPoint, PointId

EXIT_GOOD = 0
EXIT_FAILED = 1
EXIT_BAD_USAGE = 2
EXIT_NOT_JUDGED = 3
EXIT_INTERRUPTED = 130  # as shells tell Ctrl-C

INTERRUPTED = "interrupted"

# Of a run: what is under way, how much of it is done, and of how much.
Tell = Callable[[str, int, int], None]

WHERE_A_KEY_IS_GIVEN = "--qdrant.api-key-file, or api_key: in the configuration"

# What a person calls the reasons.
WORDS: Mapping[Failure | Skip, str] = {
    Failure.TIMEOUT: "no whole answer in time",
    Failure.UNREACHABLE: "it cannot be reached",
    Failure.AUTH: f"the API key is refused, or there is none: {WHERE_A_KEY_IS_GIVEN}",
    Failure.RATE_LIMITED: "the server asks for rest",
    Failure.NOT_FOUND: "what is asked for is not there",
    Failure.SERVER_ERROR: "the server failed",
    Failure.BAD_ANSWER: "the answer is not Qdrant's",
    Skip.UNSUPPORTED: "strict mode forbids it",
    Skip.REFUSED: "the server calls the request wrong",
}


class Output(StrEnum):
    """How the result is shown."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person typed. None: as configured, or the first there is."""

    collection: str
    count: int = 1
    cluster: str | None = None
    peer: str | None = None
    vector: str | None = None
    hnsw_ef: int | None = None
    limit: int | None = None
    recall: bool = True
    output: Output = Output.TEXT


class NotProbed(ExporterError):
    """Nothing could be searched. The text speaks to the person who typed; `code` is the exit code."""

    def __init__(self, text: str, *, code: int) -> None:
        self.code = code
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Phase:
    """A request of the probe: seconds on our side, and as the server itself tells them."""

    name: str
    seconds: float
    server_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it went out."""

    method: str
    path: str
    body: Any


@dataclass(frozen=True, slots=True)
class QuerySource:
    """Where the first query is from: a stored point, or a file of `queries`, of which it is the first."""

    point: PointId | None = None
    file: str | None = None
    queries: int | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A point of an answer. `mark`: "missed", "tie" for one as good as another, "other", or ""."""

    id: PointId
    score: float
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of several searches. A percentile of too few would be their maximum: it is None."""

    samples: int
    least: float
    p50: float
    p95: float | None
    p99: float | None
    most: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Searches that took up to `bound` seconds, and longer than the bucket before. None: without bound."""

    bound: float | None
    searches: int
    share: float


@dataclass(slots=True)
class Searches:
    """The searches whose time is measured. A timeout counts with the whole time waited."""

    asked: int
    done: int = 0
    seconds: list[float] = field(default_factory=list)
    server_seconds: list[float] = field(default_factory=list)
    reasons: dict[Failure | Skip, int] = field(default_factory=dict)  # how many failed for each
    in_a_row: int = 0  # failures since the last search that did not fail
    error: str = ""  # of the last one that failed

    def failed(self, reason: Failure | Skip, error: str) -> None:
        """Count one that failed."""
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.in_a_row += 1
        self.error = error


@dataclass(slots=True)
class Recall:
    """Points that exact searches found, and how many of them the index found.

    `why_not`: why it is not measured, or no further.
    """

    k: int = 0
    queries: int = 0
    expected: int = 0
    matched: int = 0
    why_not: str = ""
    failed: Failure | None = None

    @property
    def ratio(self) -> float | None:
        """0 to 1; None where there was nothing to find."""
        return self.matched / self.expected if self.expected else None


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that one run told, as far as it came."""

    cluster: str
    peer: str
    silent_peers: Mapping[str, str]  # label -> why
    version: str
    collection: str
    alias: str | None  # searched through this second name
    vectors: Sequence[VectorSeen]
    vector: str
    strict_mode: Mapping[str, Any]
    notes: Sequence[str]  # what was asked for and is not done
    searches: Searches
    points: int | None = None
    query_from: QuerySource | None = None
    filter: Any = None
    request: Sent | None = None
    phases: list[Phase] = field(default_factory=list)
    found: list[Ranked] = field(default_factory=list)
    exact: list[Ranked] = field(default_factory=list)
    recall: Recall = field(default_factory=Recall)
    plans: Mapping[str, str] = field(default_factory=dict)  # by vector
    plan_unknown: str = ""  # why
    stopped: str = ""  # why before the end

    def interrupt(self) -> None:
        """Note that a person ended it here."""
        self.stopped = INTERRUPTED
        self.recall.why_not = self.recall.why_not or INTERRUPTED
        self.plan_unknown = self.plan_unknown or INTERRUPTED

    @property
    def exit_code(self) -> int:
        """What it all amounts to."""
        if self.stopped == INTERRUPTED:
            return EXIT_INTERRUPTED
        reasons = self.searches.reasons
        if self.recall.failed or any(isinstance(reason, Failure) for reason in reasons):
            return EXIT_FAILED
        return EXIT_NOT_JUDGED if reasons else EXIT_GOOD

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it, the percentiles and the histogram in place of the single times."""
        searches, recall = self.searches, self.recall
        told = asdict(self)
        told["searches"] = {
            "asked": searches.asked,
            "done": searches.done,
            "seconds": _document_of(times_of(searches.seconds)),
            "server_seconds": _document_of(times_of(searches.server_seconds)),
            "histogram": [asdict(bucket) for bucket in histogram_of(searches.seconds)],
            "failures": {reason.value: count for reason, count in searches.reasons.items()},
            "error": searches.error,
        }
        told["recall"]["ratio"] = recall.ratio
        return told | {"exit_code": self.exit_code}


def _document_of(times: Times | None) -> dict[str, Any] | None:
    return None if times is None else asdict(times)


def times_of(seconds: Sequence[float]) -> Times | None:
    """Return the percentiles that so many samples have; None of none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return Times(
        samples=len(ordered),
        least=ordered[0],
        p50=percentile(ordered, 0.5),
        p95=percentile(ordered, 0.95) if len(ordered) >= MIN_SAMPLES_P95 else None,
        p99=percentile(ordered, 0.99) if len(ordered) >= MIN_SAMPLES_P99 else None,
        most=ordered[-1],
    )


def histogram_of(seconds: Sequence[float]) -> list[Bucket]:
    """Return the buckets of qdrantx_probe_duration_seconds, from the first filled one to the last."""
    counts = Counter(bisect_left(BOUNDS_SECONDS, one) for one in seconds)
    if not counts:
        return []
    bounds = (*BOUNDS_SECONDS, None)
    return [
        Bucket(bounds[number], counts[number], counts[number] / len(seconds))
        for number in range(min(counts), max(counts) + 1)
    ]


def side_by_side(
    exact: Sequence[FoundPoint], found: Sequence[FoundPoint]
) -> tuple[list[Ranked], list[Ranked]]:
    """Return both answers, marked: what the index missed, and what it has in its place.

    A tie is a point with the very score of the last exact one: any other with that score is as good.
    """
    truth = truth_of(exact)
    ids = {*truth.better, *truth.tied}
    found_ids = {point.id for point in found}

    def is_last(point: FoundPoint) -> bool:
        return is_tied(point.score, truth.last_score)

    in_place = [point.id for point in found if point.id not in ids and is_last(point)]
    excused = [point.id for point in exact if point.id not in found_ids and is_last(point)][: len(in_place)]

    def mark_exact(point: FoundPoint) -> str:
        missing = "tie" if point.id in excused else "missed"
        return "" if point.id in found_ids else missing

    def mark_found(point: FoundPoint) -> str:
        other = "tie" if point.id in in_place else "other"
        return "" if point.id in ids else other

    return (
        [Ranked(point.id, point.score, mark_exact(point)) for point in exact],
        [Ranked(point.id, point.score, mark_found(point)) for point in found],
    )


def in_words(failure: SourceError) -> str:
    """Return what a failed request means, and the server's own words."""
    return f"{WORDS[reason_of(failure)]} ({failure.detail})"


def named(vector: str) -> str:
    """Return a vector's name for people: the unnamed one has none."""
    return repr(vector) if vector else "the unnamed vector"
