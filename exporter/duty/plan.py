"""What settings ask of alerting, checked whole before any of it is put in force."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from exporter.alerting.mute_times import mute_time
from exporter.alerting.receivers.alertmanager import Alertmanager
from exporter.alerting.receivers.contract import Asserter, Receiver
from exporter.alerting.receivers.made import make
from exporter.alerting.routing import RoutingTree
from exporter.alerting.rules.load import RuleSet
from exporter.alerting.setup import ReceiverFacts, Setup
from exporter.alerting.words import RuleSight
from exporter.config.alerting import RouteSettings
from exporter.config.kept_receivers import from_kept, kept
from exporter.config.settings import Settings
from exporter.duty.rules_in_force import rules_in_force
from exporter.errors import ConfigError
from exporter.logs import get_logger

log = get_logger()


@dataclass(frozen=True, slots=True)
class Plan:
    """Alerting as configured. Nothing in it has connected to anything yet."""

    settings: Settings
    rules: RuleSet
    routing: RoutingTree
    receivers: Mapping[str, Receiver]  # by id
    asserters: Mapping[str, Asserter]  # by id
    kept: Mapping[str, bytes]  # the settings of all of them, by id

    def setup(self, sights: Iterable[RuleSight]) -> Setup:
        """Return what the engine decides by, with the rules that cannot see."""
        facts = [ReceiverFacts(one.id, one.name, one.wants_reminders) for one in self.receivers.values()]
        facts += [ReceiverFacts(one.id, one.name, level_triggered=True) for one in self.asserters.values()]
        return Setup(
            rules=self.rules.rules,
            routing=self.routing,
            receivers=tuple(facts),
            inhibits=self.rules.inhibits,
            mute_times=tuple(mute_time(one) for one in self.settings.alerting.mute_times),
            blind={sight.rule: sight.blind for sight in sights if sight.blind},
        )


# Where nobody is to be told there is nothing to evaluate; what was told before is still taken back.
NOBODY = RouteSettings(receiver="nobody")


def plan(settings: Settings, running: Plan | None = None) -> Plan:
    """Return what the settings ask for; no rules where nobody is to be told.

    A receiver whose settings are those of the `running` plan stays the same object. Raises
    ConfigError with everything that is wrong with the rules.
    """
    alerting = settings.alerting
    rules = rules_in_force(alerting) if alerting.enabled else RuleSet(())
    receivers: dict[str, Receiver] = {}
    asserters: dict[str, Asserter] = {}
    documents: dict[str, bytes] = {}
    for one in alerting.receivers:
        made = make(one)
        id, documents[made.id] = made.id, kept(one)
        same = running if running is not None and running.kept.get(id) == documents[id] else None
        if isinstance(made, Alertmanager):
            asserters[id] = made if same is None else same.asserters[id]
        else:
            receivers[id] = made if same is None else same.receivers[id]
    return Plan(
        settings=settings,
        rules=rules,
        routing=RoutingTree(
            written=alerting.route if alerting.enabled else NOBODY,
            receivers=[one.name for one in alerting.receivers],
        ),
        receivers=receivers,
        asserters=asserters,
        kept=documents,
    )


def owed(documents: Mapping[str, bytes]) -> dict[str, Receiver]:
    """Return the receivers that left the configuration and must still hear of an end, by the id they had."""
    receivers: dict[str, Receiver] = {}
    for id, document in documents.items():
        settings = from_kept(document)
        if settings is None:
            continue
        try:
            made = make(settings)
        except ConfigError as error:  # its package was taken away
            log.error("receiver.lost", receiver=settings.name, error=str(error))
            continue
        # Alertmanager forgets by itself what nobody tells it again.
        if made.id == id and not isinstance(made, Alertmanager):
            receivers[id] = made
    return receivers
