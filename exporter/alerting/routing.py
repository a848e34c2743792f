"""Who is told of an alert, with whom together, and at what pace: the tree that a person wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from exporter.alerting.silencing import matcher
from exporter.alerting.words import ALERTNAME, Matcher, all_match
from exporter.config.alerting import RouteSettings
from exporter.model import CLUSTER_LABEL

Value = TypeVar("Value")

RECEIVER = "receiver"  # the label of an alert about a receiver, which had better not be told there

# Alertmanager's, but for the level: who must get up is not made to wait for company.
GROUP_BY = (CLUSTER_LABEL, ALERTNAME)
GROUP_WAIT_SECONDS = 30.0
NO_WAIT = frozenset({"critical"})
GROUP_INTERVAL_SECONDS = 300.0
REPEAT_INTERVAL_SECONDS = 14_400.0


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """A node of the tree with everything that it has from those above."""

    receiver: str  # its name
    group_by: tuple[str, ...] = GROUP_BY
    group_wait_seconds: float | None = None  # None: by the level
    group_interval_seconds: float = GROUP_INTERVAL_SECONDS
    repeat_interval_seconds: float = REPEAT_INTERVAL_SECONDS
    mute: tuple[str, ...] = ()  # names of mute times

    def wait_seconds(self, severity: str) -> float:
        """How long the first alert of a group waits for others."""
        if self.group_wait_seconds is not None:
            return self.group_wait_seconds
        return 0.0 if severity in NO_WAIT else GROUP_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class _Node:
    route: ResolvedRoute
    matchers: tuple[Matcher, ...]
    goes_on: bool  # the `continue` of the file
    children: tuple[_Node, ...]


class RoutingTree:
    """The tree, ready to be asked."""

    def __init__(self, *, written: RouteSettings | None, receivers: Sequence[str]) -> None:
        """Take the tree as written and every receiver's name.

        Raises ValueError where the root names no receiver and there is not exactly one.
        """
        written = written or RouteSettings()
        if written.receiver is None and len(receivers) != 1:
            raise ValueError(
                "write receiver: at the first route, the one who is told what no other route takes"
            )
        self._receivers = tuple(receivers)
        self._root = _node(written, ResolvedRoute(receiver=written.receiver or receivers[0]))

    def routes_of(self, labels: Mapping[str, str]) -> list[ResolvedRoute]:
        """Return the routes an alert takes: the deepest that match, more than one by `continue` only.

        An alert about a receiver goes to the others of its routes, or else to all other receivers.
        """
        routes = list(_matching(self._root, labels))
        about = labels.get(RECEIVER)
        if about is None:
            return routes
        others = [route for route in routes if route.receiver != about]
        return others or [replace(routes[0], receiver=name) for name in self._receivers if name != about]


def _node(written: RouteSettings, above: ResolvedRoute) -> _Node:
    route = ResolvedRoute(
        receiver=_or(written.receiver, above.receiver),
        group_by=_or(written.group_by, above.group_by),
        group_wait_seconds=_or(written.group_wait_seconds, above.group_wait_seconds),
        group_interval_seconds=_or(written.group_interval_seconds, above.group_interval_seconds),
        repeat_interval_seconds=_or(written.repeat_interval_seconds, above.repeat_interval_seconds),
        mute=written.mute if "mute" in written.model_fields_set else above.mute,
    )
    return _Node(
        route=route,
        matchers=tuple(matcher(text) for text in written.match),
        goes_on=written.continue_,
        children=tuple(_node(child, route) for child in written.routes),
    )


def _or(written: Value | None, above: Value) -> Value:
    return above if written is None else written


def _matching(node: _Node, labels: Mapping[str, str]) -> Iterator[ResolvedRoute]:
    taken = False
    for child in node.children:
        if all_match(child.matchers, labels):
            taken = True
            yield from _matching(child, labels)
            if not child.goes_on:
                break
    if not taken:
        yield node.route
