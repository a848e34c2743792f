"""Which groups an alert belongs to by its routes, and which of them have heard of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from exporter.alerting.identity import group_key, group_labels
from exporter.alerting.routing import ResolvedRoute, RoutingTree
from exporter.alerting.words import Alert, Group

GroupId = tuple[str, str]  # the receiver's id, and the key
Places = Mapping[GroupId, tuple[ResolvedRoute, ...]]


class Membership:
    """The places of every alert that fired, and the members of every group that fire."""

    def __init__(self, *, routing: RoutingTree, receiver_ids: Mapping[str, str]) -> None:
        """Take the routes, and the id of each receiver by its name."""
        self._routing = routing
        self._receiver_ids = receiver_ids
        self._places: dict[str, Places] = {}
        self._members: dict[GroupId, dict[str, None]] = defaultdict(dict)
        self._heard_in: dict[str, set[GroupId]] = defaultdict(set)

    def enter(self, alert: Alert, *, fires: bool) -> None:
        """Let an alert take its places; a member of their groups is only what fires."""
        places = self._places.get(alert.fingerprint)
        if places is None:
            places = self._places[alert.fingerprint] = self._places_of(alert)
        if fires:
            for place in places:
                self._members[place].setdefault(alert.fingerprint)

    def leave(self, fingerprint: str) -> None:
        """Let an alert that no longer fires be no member. Its places stay, for whoever heard it."""
        for place in self._places.get(fingerprint, ()):
            of_group = self._members[place]
            of_group.pop(fingerprint, None)
            if not of_group:
                del self._members[place]

    def forget(self, fingerprint: str) -> None:
        """Forget an alert that is not known any more."""
        self._places.pop(fingerprint, None)

    def hears(self, group: GroupId, before: Iterable[str], after: Iterable[str]) -> None:
        """Note that a group has now heard of other alerts than before."""
        for fingerprint in set(before) - set(after):
            heard_in = self._heard_in[fingerprint]
            heard_in.discard(group)
            if not heard_in:
                del self._heard_in[fingerprint]
        for fingerprint in after:
            self._heard_in[fingerprint].add(group)

    def members(self, group: GroupId) -> Iterable[str]:
        """Return the alerts of a group that fire, the first to begin first."""
        return self._members.get(group, ())

    def places(self, fingerprint: str) -> Places:
        """Return the groups that an alert belongs to, each with the routes that lead there."""
        return self._places.get(fingerprint, {})

    def routes(self, fingerprint: str, group: GroupId) -> tuple[ResolvedRoute, ...]:
        """Return the routes by which an alert belongs to a group; none by which it is only heard."""
        return self._places.get(fingerprint, {}).get(group, ())

    def groups_of(self, fingerprint: str) -> list[GroupId]:
        """Return every group that an alert is something to."""
        places = self._places.get(fingerprint, {})
        heard_in: Set[GroupId] = self._heard_in.get(fingerprint, set())
        return [*places, *sorted(heard_in - places.keys())]

    def is_heard(self, fingerprint: str) -> bool:
        """Whether a group is still to be told of this alert's end."""
        return fingerprint in self._heard_in

    def new_group(self, group: GroupId, alert: Alert) -> Group:
        """Return a group of which nothing was told yet, from one of its members."""
        receiver, key = group
        group_by = self.routes(alert.fingerprint, group)[0].group_by
        return Group(receiver, key, group_labels(alert.labels, group_by), alert.severity)

    def _places_of(self, alert: Alert) -> Places:
        places: dict[GroupId, tuple[ResolvedRoute, ...]] = {}
        for route in self._routing.routes_of(dict(alert.labels)):
            receiver = self._receiver_ids.get(route.receiver)
            if receiver is not None:
                key = group_key(group_labels(alert.labels, route.group_by), alert.severity)
                places[receiver, key] = (*places.get((receiver, key), ()), route)
        return places
