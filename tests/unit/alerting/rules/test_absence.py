"""What a metric rests on, held against the catalogue and the real derivation."""

from __future__ import annotations

import pytest

from exporter.alerting.rules.absence import COLLECTIONS_BLOCK, OF_EVERY_PEER
from exporter.alerting.rules.configured import sources_of
from exporter.alerting.rules.meaning import IN_FORCE
from exporter.catalogue import SOURCES, SPECS
from exporter.model import OURS, PROBED, MetricSpec
from exporter.observe.sources.contract import Reach
from tests.kit.derivation import single

POLLED = [spec for spec in SPECS if spec.source not in (OURS, PROBED)]


@pytest.mark.parametrize("spec", POLLED, ids=lambda spec: spec.name)
def test_every_polled_metric_rests_on_sources_that_exist(spec: MetricSpec) -> None:
    """Else its silence would be taken for an answer, or for none, for ever."""
    known = {source.name for source in SOURCES}

    assert sources_of(spec)
    assert sources_of(spec) <= known


def test_sources_of_every_peer_are_polled_from_every_peer() -> None:
    """A source that one peer answers for all has no observation of the others."""
    reach = {source.name: source.reach for source in SOURCES}

    assert {reach[name] for name in OF_EVERY_PEER} == {Reach.PEER}


def test_what_is_derived_of_collections_has_the_block_that_says_so() -> None:
    """And nothing has it where no peer was understood."""
    healthy, silent = single("v1.18.3/single/green"), single("v1.18.3/single/nothing")

    assert COLLECTIONS_BLOCK in healthy.derive().blocks
    assert COLLECTIONS_BLOCK not in silent.derive().blocks


def test_metrics_that_show_only_the_value_in_force_are_those_of_the_catalogue() -> None:
    """Their names and labels are what the catalogue says."""
    labels = {spec.name: spec.labels for spec in SPECS}

    assert all(label in labels[name] for name, label in IN_FORCE.items())
