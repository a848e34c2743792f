"""The routing tree: who is told, and what a node has from those above it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.alerting.routing import ResolvedRoute, RoutingTree
from exporter.config.alerting import RouteSettings

RECEIVERS = ("ops", "pager", "search", "chat")


def tree(written: dict[str, Any], receivers: tuple[str, ...] = RECEIVERS) -> RoutingTree:
    """Return the tree that a person wrote."""
    return RoutingTree(written=RouteSettings.model_validate(written), receivers=receivers)


def told(routes: RoutingTree, **labels: str) -> list[str]:
    """Return the receivers of an alert with these labels."""
    return [route.receiver for route in routes.routes_of(labels)]


TREE = tree(
    {
        "receiver": "ops",
        "group_by": ["alertname"],
        "group_wait": "10s",
        "routes": [
            {
                "match": ['severity="critical"'],
                "receiver": "pager",
                "continue": True,
                "group_wait": "0s",
            },
            {
                "match": ['team="search"'],
                "receiver": "search",
                "repeat_interval": "1h",
                "mute": ["weekends"],
                "routes": [
                    {"match": ['collection=~"tmp_.*"'], "receiver": "chat", "mute": []},
                    {"match": ['severity!="critical"'], "group_by": ["..."]},
                ],
            },
            {"match": ['team=~"search|web"'], "receiver": "chat"},
        ],
    }
)


def test_what_no_route_takes_goes_to_the_root() -> None:
    """Nobody is told of nothing."""
    assert told(TREE, severity="warning") == ["ops"]


def test_the_first_route_that_fits_takes_an_alert() -> None:
    """Later ones are not asked."""
    assert told(TREE, team="search", severity="critical", collection="docs") == ["pager", "search"]
    assert told(TREE, team="web", severity="warning") == ["chat"]


def test_a_route_with_continue_lets_others_take_it_too() -> None:
    """And where no other does, the root is not among them."""
    assert told(TREE, severity="critical") == ["pager"]


def test_the_deepest_route_that_fits_takes_an_alert() -> None:
    """A node takes what none of its own takes."""
    assert told(TREE, team="search", severity="critical", collection="tmp_1") == ["pager", "chat"]


def test_a_node_has_from_above_what_it_leaves_out() -> None:
    """Receiver, grouping, times and mute times."""
    (route,) = TREE.routes_of({"team": "search", "severity": "warning"})

    assert route == ResolvedRoute(
        receiver="search",
        group_by=("...",),
        group_wait_seconds=10.0,
        group_interval_seconds=300.0,
        repeat_interval_seconds=3_600.0,
        mute=("weekends",),
    )


def test_a_node_may_write_that_it_is_not_muted() -> None:
    """An empty list is not one that was left out."""
    (route,) = TREE.routes_of({"team": "search", "collection": "tmp_1"})

    assert route.mute == ()


def test_without_a_tree_the_only_receiver_is_told_everything() -> None:
    """One webhook by a flag is enough."""
    routes = RoutingTree(written=None, receivers=("ops",))

    (route,) = routes.routes_of({"alertname": "PeerDown"})
    assert route == ResolvedRoute("ops", ("qdrant_cluster", "alertname"), None, 300.0, 14_400.0)


def test_a_tree_must_say_who_is_told_by_its_root() -> None:
    """Of several receivers none is the default."""
    with pytest.raises(ValueError, match="write receiver:"):
        tree({"routes": []})


@pytest.mark.parametrize(("severity", "seconds"), [("critical", 0.0), ("error", 30.0), ("warning", 30.0)])
def test_critical_alerts_wait_for_no_company_unless_somebody_wrote_so(severity: str, seconds: float) -> None:
    """A group_wait that was written is for every level."""
    assert ResolvedRoute("ops").wait_seconds(severity) == seconds
    assert ResolvedRoute("ops", group_wait_seconds=5.0).wait_seconds(severity) == 5.0


def test_an_alert_about_a_receiver_goes_to_the_others_of_its_routes() -> None:
    """The one that does not answer is not asked to tell so."""
    assert told(TREE, team="search", severity="critical", receiver="pager") == ["search"]


def test_an_alert_about_the_only_receiver_of_its_route_goes_to_all_others() -> None:
    """By the times of that route."""
    routes = TREE.routes_of({"severity": "critical", "receiver": "pager"})

    assert [(route.receiver, route.group_wait_seconds) for route in routes] == [
        ("ops", 0.0), ("search", 0.0), ("chat", 0.0),
    ]  # fmt: skip


def test_an_alert_about_the_only_receiver_goes_nowhere() -> None:
    """There is nobody else."""
    assert told(tree({}, receivers=("ops",)), receiver="ops") == []


MATCHES = ('severity="critical"', 'team=~"search|web"', 'team!="web"', 'collection!~"tmp_.+"', 'team=""')
LABELS = st.fixed_dictionaries(
    {},
    optional={
        "severity": st.sampled_from(["critical", "warning"]),
        "team": st.sampled_from(["search", "web", "other"]),
        "collection": st.sampled_from(["docs", "tmp_1", "tmp_"]),
    },
)


def routes(children: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return trees as people write them, with these below."""
    return st.fixed_dictionaries(
        {"match": st.lists(st.sampled_from(MATCHES), max_size=2), "continue": st.booleans()},
        optional={"receiver": st.sampled_from(RECEIVERS), "routes": st.lists(children, max_size=3)},
    )


def for_alertmanager(route: dict[str, Any]) -> dict[str, Any]:
    """Return a tree as Alertmanager has it."""
    names = {"match": "matchers"}
    written = {names.get(key, key): value for key, value in route.items()}
    return written | {"routes": [for_alertmanager(child) for child in route.get("routes", [])]}


@pytest.mark.skipif(shutil.which("amtool") is None, reason="Alertmanager's amtool is not installed")
@given(
    st.lists(st.recursive(routes(st.just({})), routes, max_leaves=6), max_size=4),
    st.lists(LABELS, min_size=1, max_size=4),
)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_every_tree_leads_where_alertmanager_would_lead(
    written: list[dict[str, Any]], alerts: list[dict[str, str]]
) -> None:
    """By `amtool config routes test`."""
    root = {"receiver": "ops", "routes": written}
    config = {"route": for_alertmanager(root), "receivers": [{"name": name} for name in RECEIVERS]}
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        file.write(json.dumps(config))  # JSON is YAML
        file.flush()
        for labels in alerts:
            command = ["amtool", "config", "routes", "test", f"--config.file={file.name}"]
            pairs = [f"{name}={value}" for name, value in {"alertname": "X", **labels}.items()]
            done = subprocess.run([*command, *pairs], capture_output=True, text=True, check=True)

            assert told(tree(root), **labels) == done.stdout.strip().split(",")
