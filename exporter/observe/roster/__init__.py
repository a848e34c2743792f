"""Whom to watch: from what a person wrote, what DNS says and what the cluster lists.

`words` is what goes in and out; `knowledge` all that is known, as one immutable value;
`hearing` and `candidates` change it; `watching` and `troubles` read it; `places` and `identity`
are the small decisions below; `lookup` and `roster` do what has an effect. Never in here: HTTP
and SQL, which `app` brings along.
"""

from exporter.observe.roster.lookup import SystemResolver
from exporter.observe.roster.roster import Roster
from exporter.observe.roster.words import ClusterAnswer, Origin, Target, Trouble, TroubleKind, Unwatched

__all__ = [
    "ClusterAnswer",
    "Origin",
    "Roster",
    "SystemResolver",
    "Target",
    "Trouble",
    "TroubleKind",
    "Unwatched",
]
