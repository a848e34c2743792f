"""What must hold between receivers, routes and mute times.

As in `checks.py`, on the tree as written, before the models; what has the wrong type is skipped. Only
the addresses of receivers are compared after the models: they may stand in files.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlsplit

from exporter.config.addresses import is_loopback
from exporter.config.alerting import AlertingSettings, ReceiverSettings, RouteSettings
from exporter.config.problems import KeyPath
from exporter.config.receiver_address import Address, address_of
from exporter.config.secret import Secret

Finding = tuple[KeyPath, str]

ALERTING: KeyPath = ("alerting",)
ROOT: KeyPath = ("alerting", "route")

# What has no meaning where nothing stands above.
_NOT_AT_THE_ROOT = {
    "match": "the first route takes every alert; move match: into a route under routes:",
    "mute": "the first route is never muted, or nobody would be told; move mute: into a route under routes:",
    "continue": "nothing comes after the first route; remove it, or move it into a route under routes:",
}


def problems_of_alerting(tree: dict[str, Any]) -> Iterator[Finding]:
    """Yield path and advice of everything in `alerting` that no single section shows."""
    alerting = tree.get("alerting")
    if not isinstance(alerting, dict):
        return
    yield from _repeated_names(alerting, "receivers", "receiver")
    yield from _repeated_names(alerting, "mute_times", "mute time")
    yield from _root(alerting)
    receivers, mutes = _names(alerting, "receivers"), _names(alerting, "mute_times")
    for path, route in _routes(alerting.get("route"), ROOT):
        yield from _unknown_receiver(path, route, receivers)
        yield from _unknown_mutes(path, route, mutes)


def _items(mapping: dict[str, Any], key: str) -> list[Any]:
    value = mapping.get(key)
    return value if isinstance(value, list) else []


def _names(alerting: dict[str, Any], key: str) -> list[str]:
    return [
        item["name"]
        for item in _items(alerting, key)
        if isinstance(item, dict) and isinstance(item.get("name"), str)
    ]


def _repeated_names(alerting: dict[str, Any], key: str, what: str) -> Iterator[Finding]:
    seen: set[str] = set()
    for index, item in enumerate(_items(alerting, key)):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        if name in seen:
            yield (*ALERTING, key, index, "name"), f"another {what} has this name already; write another"
        seen.add(name)


def _root(alerting: dict[str, Any]) -> Iterator[Finding]:
    route = alerting.get("route")
    receivers = _items(alerting, "receivers")
    if route is None:
        if len(receivers) > 1:
            yield ROOT, "there are several receivers; write route: {receiver: NAME} to say who is told"
        return
    if not isinstance(route, dict):
        return
    if route.get("receiver") is None and len(receivers) > 1:
        yield ROOT, "there are several receivers; write receiver: with the one for what no route below takes"
    for key, advice in _NOT_AT_THE_ROOT.items():
        if route.get(key):
            yield (*ROOT, key), advice


def _routes(route: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield every node of the tree with its path, the root first."""
    if not isinstance(route, dict):
        return
    yield path, route
    for index, below in enumerate(_items(route, "routes")):
        yield from _routes(below, (*path, "routes", index))


def _unknown_receiver(path: KeyPath, route: dict[str, Any], known: list[str]) -> Iterator[Finding]:
    name = route.get("receiver")
    if isinstance(name, str) and name and name not in known:
        yield (*path, "receiver"), _unknown("receiver", name, known)


def _unknown_mutes(path: KeyPath, route: dict[str, Any], known: list[str]) -> Iterator[Finding]:
    for index, name in enumerate(_items(route, "mute")):
        if isinstance(name, str) and name and name not in known:
            yield (*path, "mute", index), _unknown("mute time", name, known)


def _unknown(what: str, name: str, known: list[str]) -> str:
    if near := get_close_matches(name, known, n=1):
        return f"there is no such {what}; did you mean {near[0]}?"
    return f"there is no such {what}; " + (f"known here: {', '.join(known)}" if known else "none is written")


def repeated_addresses(alerting: AlertingSettings) -> Iterator[Finding]:
    """Yield the receivers whose messages end up where those of one above them do.

    Each would begin and end the incidents of the other there: both have the same keys.
    """
    first: dict[Address, str] = {}
    for index, receiver in enumerate(alerting.receivers):
        name = first.setdefault(address_of(receiver), receiver.name)
        if name != receiver.name:
            yield (
                (*ALERTING, "receivers", index),
                f"{receiver.name} and {name} are one place; write it once, and name it in every route to it",
            )


def warnings_of_alerting(alerting: AlertingSettings) -> Iterator[str]:
    """Yield what works but should not stay so, each with its path below `alerting`."""
    if not alerting.enabled and alerting != AlertingSettings():
        yield "alerting: has no effect, because it has no receivers"
    for index, receiver in enumerate(alerting.receivers):
        for text in _readable_on_the_way(receiver):
            yield f"alerting.receivers.{index}.{text}"
    if alerting.route is not None:
        named = {route.receiver for _, route in _nodes(alerting.route, "alerting.route")}
        for index, receiver in enumerate(alerting.receivers):
            if receiver.name not in named and len(alerting.receivers) > 1:
                yield f"alerting.receivers.{index}: is never told anything, because no route names it"
        yield from _never_reached(alerting.route)


def _nodes(route: RouteSettings, path: str) -> Iterator[tuple[str, RouteSettings]]:
    yield path, route
    for index, below in enumerate(route.routes):
        yield from _nodes(below, f"{path}.routes.{index}")


def _never_reached(root: RouteSettings) -> Iterator[str]:
    for path, route in _nodes(root, "alerting.route"):
        for index, below in enumerate(route.routes[:-1]):
            if not below.match and not below.continue_:
                yield f"{path}.routes.{index}: has no match:, so those behind it are never reached"
                break


def _readable_on_the_way(receiver: ReceiverSettings) -> Iterator[str]:
    if receiver.slack is not None and _is_plain(receiver.slack.url):
        yield "slack.url: goes over plain http, readable on the way; use https"
    if receiver.webhook is not None and _is_plain(receiver.webhook.url):
        for key in ("bearer_token", "password"):
            if getattr(receiver.webhook, key) is not None:
                yield f"webhook.{key}: goes over plain http, readable on the way; use https"
    if receiver.alertmanager is not None and any(map(_is_plain, receiver.alertmanager.urls)):
        for key in ("bearer_token", "password"):
            if getattr(receiver.alertmanager, key) is not None:
                yield f"alertmanager.{key}: goes over plain http, readable on the way; use https"
    email = receiver.email
    if email is not None and email.tls == "none" and email.password and not is_loopback(email.host):
        yield "email.password: goes to the mail server in plain text, readable on the way; use tls: starttls"


def _is_plain(url: Secret | str) -> bool:
    parts = urlsplit(url.reveal() if isinstance(url, Secret) else url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
