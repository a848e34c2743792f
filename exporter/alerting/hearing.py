"""Which receivers heard of something that is not over."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.alerting.membership import GroupId
from exporter.alerting.words import Group


class Hearing:
    """The groups that heard of something, by receiver; cheap to keep up and to ask."""

    def __init__(self, groups: Iterable[Group] = ()) -> None:
        self._keys: dict[str, set[str]] = {}
        for group in groups:
            self.put(group)

    def put(self, group: Group) -> None:
        """Take a group as it is now."""
        if group.heard:
            self._keys.setdefault(group.receiver, set()).add(group.key)
        else:
            self.drop((group.receiver, group.key))

    def drop(self, place: GroupId) -> None:
        """Let a group go."""
        receiver, key = place
        keys = self._keys.get(receiver)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._keys[receiver]

    def receivers(self) -> frozenset[str]:
        """Return the ids of all receivers that heard of something."""
        return frozenset(self._keys)
