"""The page at /: who is watched, what is wrong, where to look. Plain HTML, nothing loaded."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from exporter.web.face import Landing, LandingAlert, LandingCluster, LandingPeer

MAX_ALERTS = 50  # a page, not a list; the API has all of them

# Relative, so that they also hold behind a proxy that adds a path prefix.
_LINKS = (
    ("metrics", "what Prometheus scrapes"),
    ("api/v1/status", "peers, sources, faults and collections as JSON"),
    ("api/v1/alerts", "what fires or is about to, as JSON"),
    ("api/v1/rules", "the alert rules, with those that see nothing here, as JSON"),
    ("runbooks", "what to do about each alert"),
    ("config", "the configuration in force, without secrets"),
    ("-/healthy", "is the daemon alive"),
    ("-/ready", "has every peer been polled once"),
)

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "td{padding:.1rem 1rem .1rem 0}.down{color:#b00020;font-weight:600}.up{color:#1b6e3c}"
    ".trouble{border-left:4px solid #b00020;padding:.2rem 1rem;margin:1rem 0}code{white-space:pre-wrap}"
)


def landing_html(landing: Landing) -> str:
    """Return the page. Every text in it is escaped: names come from configuration and from Qdrant."""
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>qdrant-exporter</title><style>{_STYLE}</style></head><body>",
            f"<h1>qdrant-exporter {escape(landing.version)}</h1>",
            _address(landing.external_url),
            *(
                f'<div class="trouble"><strong>{escape(trouble.what)}</strong>'
                f"<br><code>{escape(trouble.remedy)}</code></div>"
                for trouble in landing.troubles
            ),
            _alerts(landing.alerts),
            *map(_cluster, landing.clusters),
            "<h2>Where to look</h2><table>",
            *(f'<tr><td><a href="{path}">/{path}</a></td><td>{what}</td></tr>' for path, what in _LINKS),
            "</table></body></html>\n",
        )
    )


def _address(external_url: str | None) -> str:
    if external_url is None:
        return ""
    url = escape(external_url)
    return f'<p>Its address: <a href="{url}">{url}</a></p>'


def _alerts(alerts: tuple[LandingAlert, ...]) -> str:
    if not alerts:
        return ""
    shown = alerts[:MAX_ALERTS]
    more = f"<p>and {len(alerts) - len(shown)} more</p>" if len(alerts) > len(shown) else ""
    rows = "".join(map(_alert, shown))
    return f"<h2>Firing: {len(alerts)}</h2><table>{rows}</table>{more}"


def _alert(alert: LandingAlert) -> str:
    name = escape(alert.name)
    what = f'<a href="{_runbook(alert.runbook)}">{name}</a>' if alert.runbook else name
    shade = "down" if alert.severity == "critical" else ""
    return (
        f'<tr><td class="{shade}">{escape(alert.severity)}</td><td>{what}</td>'
        f"<td>{escape(alert.summary)}</td><td>{escape(alert.since)}</td></tr>"
    )


def _runbook(runbook: str) -> str:
    """Return where a runbook is: a page of somebody's own, or ours of that name."""
    is_address = runbook.startswith(("http://", "https://"))
    return escape(runbook) if is_address else f"runbooks/{quote(runbook, safe='')}"


def _cluster(cluster: LandingCluster) -> str:
    rows = "".join(map(_peer, cluster.peers)) or "<tr><td>no peer is known yet</td></tr>"
    return f"<h2>Cluster {escape(cluster.name)}</h2><table>{rows}</table>"


def _peer(peer: LandingPeer) -> str:
    word = {None: "not polled yet", True: "up", False: "down"}[peer.up]
    shade = {None: "", True: "up", False: "down"}[peer.up]
    return f'<tr><td>{escape(peer.name)}</td><td class="{shade}">{word}</td><td>{escape(peer.note)}</td></tr>'
