"""What the engine is told before it starts, and again after a reload: rules, routes, windows, receivers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.alerting.inhibition import Pair
from exporter.alerting.mute_times import MuteTime
from exporter.alerting.routing import RoutingTree
from exporter.alerting.words import Rule


@dataclass(frozen=True, slots=True)
class ReceiverFacts:
    """What the engine has to know of a receiver."""

    id: str  # see receivers/contract.py
    name: str  # as routes and the label `receiver` call it
    wants_reminders: bool = True
    level_triggered: bool = False  # told the whole state again and again: Alertmanager


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything that decides, beside findings and silences."""

    rules: tuple[Rule, ...]
    routing: RoutingTree
    receivers: tuple[ReceiverFacts, ...]
    inhibits: tuple[Pair, ...] = ()
    mute_times: tuple[MuteTime, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)  # why, by the name of a rule that cannot see
