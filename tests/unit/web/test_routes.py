"""What each path answers."""

from __future__ import annotations

import gzip
import json
from html.parser import HTMLParser

import pytest

from exporter.web.answers import accepts_gzip
from exporter.web.face import Landing, LandingAlert, LandingCluster, LandingPeer, Trouble
from tests.unit.web.serving import Daemon, Page, serving

GETS = (
    "/", "/metrics", "/-/healthy", "/-/ready", "/config", "/api/v1/status", "/api/v1/alerts", "/api/v1/rules",
    "/runbooks",
)  # fmt: skip


async def test_a_scrape_gets_the_page_in_text_format() -> None:
    """The content type is the one Prometheus negotiates; caches keep the two forms apart."""
    async with serving() as site:
        answer = await site.ask("GET", "/metrics")

    assert answer.status == 200
    assert answer.body == b"qdrantx_up 1\n"
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["vary"] == "accept-encoding"
    assert "content-encoding" not in answer.headers


async def test_a_scrape_that_takes_gzip_gets_gzip() -> None:
    """As Prometheus asks for it."""
    async with serving(Daemon(page=Page(b"x" * 1_000_000))) as site:
        answer = await site.ask("GET", "/metrics", {"accept-encoding": "gzip"})

    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == b"x" * 1_000_000


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("x-gzip", True),
        ("deflate, GZIP;q=0.5, br", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("*;q=0", False),
        ("*, gzip;q=0", False),
        ("gzip, *;q=0", True),
        ("identity", False),
        ("gzip;q=many", False),
        ("", False),
        (";;,=,;q=", False),
    ],
)
def test_gzip_is_sent_to_who_takes_it(header: str, accepted: bool) -> None:
    """Weights count, and naming gzip outranks the star."""
    assert accepts_gzip(header) is accepted


async def test_a_large_page_arrives_whole() -> None:
    """Slices join to what was rendered."""
    body = bytes(range(256)) * 20_000
    async with serving(Daemon(page=Page(body))) as site:
        answer = await site.ask("GET", "/metrics")

    assert answer.body == body
    assert answer.headers["content-length"] == str(len(body))


async def test_ready_only_once_the_first_polls_have_ended() -> None:
    """Healthy at once, ready later."""
    daemon = Daemon(ready=False)
    async with serving(daemon) as site:
        assert (await site.ask("GET", "/-/healthy")).status == 200
        assert (await site.ask("GET", "/-/ready")).status == 503

        daemon.ready = True
        assert (await site.ask("GET", "/-/ready")).status == 200


async def test_reload_and_config_are_closed_to_strangers() -> None:
    """Both answer 403 with what to set, and nothing is reloaded."""
    async with serving() as site:
        reload = await site.ask("POST", "/-/reload")
        config = await site.ask("GET", "/config")

        assert (reload.status, config.status) == (403, 403)
        assert b"--web.enable-lifecycle" in reload.body
        assert b"--web.enable-lifecycle" in config.body
        assert site.daemon.reloads == 0


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_reload_can_be_asked_for_where_it_is_enabled(method: str) -> None:
    """POST, and PUT as Prometheus also takes."""
    async with serving(enable_lifecycle=True) as site:
        answer = await site.ask(method, "/-/reload")

        assert answer.status == 200
        assert site.daemon.reloads == 1


async def test_a_reload_that_fails_says_why() -> None:
    """The person who asked reads the problem."""
    async with serving(Daemon(reload_problem="config.yaml:3: no"), enable_lifecycle=True) as site:
        answer = await site.ask("POST", "/-/reload")

    assert answer.status == 500
    assert b"config.yaml:3: no" in answer.body


async def test_the_configuration_is_shown_as_yaml_where_that_is_enabled() -> None:
    """What the application hands over, which has no secrets."""
    async with serving(enable_lifecycle=True) as site:
        answer = await site.ask("GET", "/config")

    assert answer.headers["content-type"].startswith("text/yaml")
    assert answer.body == b"clusters: []\n"


async def test_the_status_is_json() -> None:
    """Names come through whole, also a lone surrogate that JSON can carry."""
    async with serving(Daemon(status={"collections": ["a\nb", "🦀", "\ud800"]})) as site:
        answer = await site.ask("GET", "/api/v1/status")

    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.body) == {"collections": ["a\nb", "🦀", "?"]}


async def test_alerts_and_rules_are_json_as_the_application_hands_them_over() -> None:
    """In Prometheus's shape, which the application makes."""
    daemon = Daemon(alerts={"data": {"alerts": ["🦀"]}}, rules={"data": {"groups": []}})
    async with serving(daemon) as site:
        alerts, rules = await site.ask("GET", "/api/v1/alerts"), await site.ask("GET", "/api/v1/rules")

    assert alerts.headers["content-type"] == rules.headers["content-type"] == "application/json"
    assert json.loads(alerts.body) == {"data": {"alerts": ["🦀"]}}
    assert json.loads(rules.body) == {"data": {"groups": []}}


async def test_a_runbook_is_plain_text_and_an_unknown_one_names_those_there_are() -> None:
    """A message links to it; whoever mistypes it finds the right one."""
    async with serving(Daemon(runbooks={"PeerDown": "# PeerDown\n<b>see</b>", "QuorumLost": "x"})) as site:
        found = await site.ask("GET", "/runbooks/PeerDown")
        unknown = await site.ask("GET", "/runbooks/PeerDwon")
        names = await site.ask("GET", "/runbooks")
        deeper = await site.ask("GET", "/runbooks/a/b")

    assert (found.status, found.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert found.body == b"# PeerDown\n<b>see</b>"
    assert unknown.status == 404
    assert unknown.body == b"There is no such runbook. There are:\n  PeerDown\n  QuorumLost\n"
    assert names.body == b"/runbooks/PeerDown\n/runbooks/QuorumLost\n"
    assert deeper.status == 404


async def test_the_landing_page_lists_what_fires_with_its_runbook() -> None:
    """The worst first, as handed over; names cannot be mistaken for HTML."""
    alerts = (
        LandingAlert("PeerDown", "critical", "<script>x</script> is down", "12 min", "PeerDown"),
        LandingAlert("Own", "warning", "too many", "3 s"),
        LandingAlert("Theirs", "warning", "too few", "3 s", 'https://wiki.example/"a"?b&c'),
    )
    async with serving(Daemon(landing=Landing(version="1.2.3", alerts=alerts))) as site:
        answer = await site.ask("GET", "/")
    page = _Read()
    page.feed(answer.body.decode())

    assert "Firing: 3" in page.text
    assert "script" not in page.tags
    assert "<script>x</script> is down12 min" in page.text
    assert 'https://wiki.example/"a"?b&c' in page.links
    assert {"runbooks/PeerDown", "api/v1/alerts", "api/v1/rules", "runbooks"} <= page.links


async def test_a_storm_of_alerts_leaves_the_landing_page_short() -> None:
    """The API has all of them."""
    storm = tuple(LandingAlert("PeerDown", "critical", f"peer {number}", "1 s") for number in range(500))
    async with serving(Daemon(landing=Landing(version="1.2.3", alerts=storm))) as site:
        text = (await site.ask("GET", "/")).body.decode()

    assert "Firing: 500" in text
    assert "and 450 more" in text
    assert text.count("<td>peer ") == 50


async def test_without_an_alert_the_landing_page_says_nothing_of_alerts() -> None:
    """Nothing to read where nothing is wrong."""
    async with serving() as site:
        assert b"Firing" not in (await site.ask("GET", "/")).body


async def test_the_landing_page_says_who_is_down_and_what_to_do() -> None:
    """Names and remedies are there and cannot be mistaken for HTML."""
    landing = Landing(
        version="1.2.3",
        clusters=(
            LandingCluster(
                "<script>alert(1)</script>",
                (LandingPeer("one:6333", True, "1.18.3"), LandingPeer("two:6333", False, 'a "note" & more')),
            ),
        ),
        troubles=(Trouble("1 peer is not watched", "add --qdrant.url http://three:6333"),),
    )
    async with serving(Daemon(landing=landing)) as site:
        answer = await site.ask("GET", "/")
    page = _Read()
    page.feed(answer.body.decode())

    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert 'a "note" & more' in page.text
    assert "add --qdrant.url http://three:6333" in page.text
    assert answer.body.count(b">down<") == 1
    assert {"metrics", "api/v1/status"} <= page.links
    assert not any(link.startswith(("http", "/")) for link in page.links)


async def test_the_landing_page_names_the_address_that_was_configured() -> None:
    """Behind a proxy the daemon cannot know by itself under which address people reach it."""
    address = "https://monitoring.example.com/qdrant?a=1&b=2"
    async with serving(Daemon(landing=Landing(version="1.2.3", external_url=address))) as site:
        answer = await site.ask("GET", "/")
    page = _Read()
    page.feed(answer.body.decode())

    assert address in page.links
    assert address in page.text


async def test_what_is_nowhere_is_404() -> None:
    """Also with a slash too many: there are no redirects."""
    async with serving() as site:
        for path in ("/nothing", "/metrics/", "//metrics", "/../etc/passwd", "/%2e%2e/config"):
            assert (await site.ask("GET", path)).status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/metrics", {"GET", "HEAD"}),
        ("DELETE", "/", {"GET", "HEAD"}),
        ("PROPFIND", "/config", {"GET", "HEAD"}),
        ("GET", "/-/reload", {"POST", "PUT"}),
        ("HEAD", "/-/reload", {"POST", "PUT"}),
    ],
)
async def test_a_wrong_method_is_405_and_says_the_right_ones(
    method: str, path: str, allowed: set[str]
) -> None:
    """With Allow, as the standard wants."""
    async with serving() as site:
        answer = await site.ask(method, path)

    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == allowed


async def test_head_answers_as_get_does_without_the_body() -> None:
    """Same status and type, nothing after the headers."""
    async with serving(enable_lifecycle=True) as site:
        for path in GETS:
            get, head = await site.ask("GET", path), await site.ask("HEAD", path)

            assert (head.status, head.body) == (get.status, b"")
            assert head.headers["content-length"] == get.headers["content-length"]
            assert head.headers["content-type"] == get.headers["content-type"]


async def test_every_answer_has_the_careful_headers() -> None:
    """Also errors: nothing sniffs, frames, loads or keeps what we send."""
    async with serving() as site:
        for path in (*GETS, "/nothing"):
            headers = (await site.ask("GET", path)).headers

            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cache-control"] == "no-store"
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert "date" in headers
            assert "server" not in headers


class _Read(HTMLParser):
    """The tags, links and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links |= {value for name, value in attrs if name in ("href", "src") and value}

    def handle_data(self, data: str) -> None:
        self.text += data
