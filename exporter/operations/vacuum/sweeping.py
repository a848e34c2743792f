"""One look at all collections of a cluster, to tell those in which there is nothing to do.

A peer tells of all its collections in one answer, or of none. Asked for each of them by itself it would send
31 MB ten thousand times.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from exporter.backup.calling import Limits
from exporter.backup.survey import PeerAt
from exporter.backup.thresholds.optimizing import Optimizing, sweep
from exporter.operations.vacuum.gates import settings_of, sight_of
from exporter.operations.vacuum.planning import choose, is_worth_it
from exporter.operations.vacuum.words import VacuumPlan, VacuumTerms


async def idle_plans(
    peers: Sequence[PeerAt], collections: Sequence[str], terms: VacuumTerms, limits: Limits
) -> dict[str, VacuumPlan]:
    """Return a plan for each of these collections in which there is nothing to do, by its name.

    The others are to be looked at one by one; all of them where a peer does not answer. Raises nothing.
    """
    if len(collections) < 2:
        return {}  # the look at it is the same one
    swept = await sweep(peers, limits, partial(is_worth_it, terms=terms))
    plans = {name: _idle(swept[name], terms) for name in collections if name in swept}
    return {name: plan for name, plan in plans.items() if plan is not None}


def _idle(seen: Optimizing, terms: VacuumTerms) -> VacuumPlan | None:
    """Return a plan to do nothing; None where there is something to do, or not all is seen."""
    choice = choose(seen.segments, settings_of(seen), terms)
    plan = VacuumPlan(seen.collection, (), (), sight_of(seen), {}, {}, {}, choice.note)
    # one without a live point is judged by the points of others, of which a sweep keeps the victims' alone
    is_sure = all(one.live for one in seen.segments)
    return None if choice.victims or plan.refusals or not is_sure else plan
