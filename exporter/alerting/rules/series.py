"""The series in force that rules ask for, kept from one look at the Board to the next.

Most blocks of readings are the same tuple again at the next look, and are not searched again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from exporter.alerting.words import Matcher, Selector
from exporter.board import BoardView, Labels
from exporter.model import MetricSpec, ProducerKey, Reading


@dataclass(frozen=True, slots=True)
class LabelFilter:
    """Which series of a metric, by the values of its labels. Equal to another that asks the same."""

    conditions: tuple[tuple[int, Matcher], ...]  # position of the label

    def __call__(self, labels: Labels) -> bool:
        """Whether a series of these label values is wanted."""
        return all(matcher.matches(labels[position]) for position, matcher in self.conditions)


def label_filter(spec: MetricSpec, match: tuple[Matcher, ...]) -> LabelFilter | None:
    """Return the filter that matchers make; None where there are none, and so every series is wanted."""
    if not match:
        return None
    return LabelFilter(tuple((spec.labels.index(matcher.name), matcher) for matcher in match))


def projector(wanted: tuple[str, ...], names: tuple[str, ...]) -> Callable[[Labels], Labels]:
    """Return what picks the values of the wanted labels out of those of all names, in that order."""
    positions = tuple(names.index(name) for name in wanted)
    if positions == tuple(range(len(names))):
        return lambda labels: labels
    if not positions:
        return lambda labels: ()
    if len(positions) == 1:
        only = positions[0]
        return lambda labels: (labels[only],)
    pick: Callable[[Labels], Labels] = itemgetter(*positions)
    return pick


class Selection:
    """The values in force of the series of one metric that satisfy some matchers."""

    def __init__(self, spec: MetricSpec, match: tuple[Matcher, ...]) -> None:
        self.spec = spec
        self.filter = label_filter(spec, match)
        self.values: dict[Labels, float] = {}


# A producer that was withdrawn for so long does not come back; and after twice that it is forgotten.
WITHDRAWN_SECONDS = 600.0
FORGOTTEN_SECONDS = 1_200.0

_Block = tuple[int, ProducerKey]  # known, standing or derived, and by whom
_Found = list[tuple[Selection, Labels, float]]


class SeriesIndex:
    """The selections of some rules. `refresh` brings them up to a view of the Board."""

    def __init__(self, selectors: Iterable[Selector]) -> None:
        self._selections: dict[tuple[MetricSpec, tuple[Matcher, ...]], Selection] = {}
        self._by_spec: dict[MetricSpec, list[Selection]] = {}
        self._blocks: dict[_Block, tuple[tuple[Reading, ...], _Found]] = {}
        # Who of standing readings has ever said a metric, for without that silence says nothing; and when
        # they were withdrawn.
        self._speakers: dict[MetricSpec, dict[ProducerKey, float | None]] = {}
        for selector in selectors:
            key = (selector.spec, selector.match)
            if key not in self._selections:
                made = self._selections[key] = Selection(*key)
                self._by_spec.setdefault(selector.spec, []).append(made)

    def of(self, selector: Selector) -> Selection:
        """Return the series of a selector that was given at the start."""
        return self._selections[selector.spec, selector.match]

    def speakers(self, spec: MetricSpec) -> Mapping[ProducerKey, float | None]:
        """Return the producers of standing readings that have said this metric.

        With when they were withdrawn, on the monotonic clock; None: they stand.
        """
        return self._speakers.get(spec, {})

    def refresh(self, view: BoardView) -> None:
        """Take in what changed since the last view."""
        seen: set[_Block] = set()
        added: list[_Found] = []
        for block, readings in _blocks(view):
            seen.add(block)
            before = self._blocks.get(block)
            if before is not None and before[0] is readings:
                continue
            if before is not None:
                _remove(before[1])
            found = list(self._found(readings))
            self._blocks[block] = (readings, found)
            added.append(found)
            if block[0] == _STANDING:
                for selection, _, _ in found:
                    self._speakers.setdefault(selection.spec, {})[block[1]] = None
        for block in self._blocks.keys() - seen:
            _remove(self._blocks.pop(block)[1])
        self._note_withdrawn(view)
        for found in added:  # at the end: a series may have moved from one block to another
            for selection, labels, value in found:
                selection.values[labels] = value

    def _note_withdrawn(self, view: BoardView) -> None:
        now = view.monotonic_seconds
        for speakers in self._speakers.values():
            for key, left_at in list(speakers.items()):
                if key in view.standing:
                    speakers[key] = None
                elif left_at is None:
                    speakers[key] = now
                elif now - left_at > FORGOTTEN_SECONDS:
                    del speakers[key]

    def _found(self, readings: Iterable[Reading]) -> Iterator[tuple[Selection, Labels, float]]:
        by_spec = self._by_spec
        for spec, labels, value in readings:
            if spec in by_spec:
                for selection in by_spec[spec]:
                    if selection.filter is None or selection.filter(labels):
                        yield selection, labels, value


_KNOWN, _STANDING, _DERIVED = range(3)


def _blocks(view: BoardView) -> Iterator[tuple[_Block, tuple[Reading, ...]]]:
    for key, observation in view.known.items():
        yield (_KNOWN, key), observation.readings
    for key, readings in view.standing.items():
        yield (_STANDING, key), readings
    for key, readings in view.derived.items():
        yield (_DERIVED, key), readings


def _remove(found: _Found) -> None:
    for selection, labels, _ in found:
        selection.values.pop(labels, None)
