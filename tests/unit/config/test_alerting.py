"""The alerting settings: what a file may say, what is wrong with it, and the flag that needs no file."""
# ruff: noqa: E501  # a message stands in one piece, as it is printed

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.config.alerting import (
    AlertingSettings,
    AlertmanagerSettings,
    ClockRange,
    EmailSettings,
    HeartbeatSettings,
    InhibitSettings,
    LevelOverride,
    MuteTimeSettings,
    PagerDutySettings,
    ReceiverSettings,
    RouteSettings,
    RuleOverride,
    SlackSettings,
    TimeWindow,
    WebhookSettings,
)
from exporter.config.checks import warnings_of
from exporter.config.loader import load
from exporter.config.redaction import redacted_yaml
from exporter.config.secret import Secret
from exporter.config.settings import Settings
from exporter.errors import ConfigError
from tests.unit.config.writing import problems_of, settings_of

PEERS = "clusters: [{peers: [http://a]}]\n"
ONE = PEERS + "alerting:\n  receivers: [{name: ops, slack: {url: 'https://h/s3cret'}}]\n"
TWO = (
    PEERS
    + "alerting:\n  receivers: [{name: ops, slack: {url: 'https://h/s3cret'}}, {name: bot, webhook: {url: 'https://b'}}]\n"
)

SOME_OF_EVERYTHING = """\
clusters: [{peers: [http://a]}]
alerting:
  preset: guide
  rule_files: [mine.yaml]
  rules:
    IndexingLag: {levels: {warning: {threshold: 5, clear: 3, for: 1m}}, keep_firing_for: 2m, labels: {team: s}}
    PeerDown: {enabled: false}
  receivers:
  - {name: ops, slack: {url: 'https://hooks.example.com/services/s3cret', deadline: 5s}}
  - {name: pager, pagerduty: {routing_key: 0123456789abcdef0123456789abcdef}}
  - name: bot
    webhook: {url: 'http://127.0.0.1:9/s3cret', username: u, password: s3cret-p, signing_secret: s3cret-k}
  - name: am
    alertmanager: {urls: ['http://am-0:9093', 'http://am-1:9093/x'], bearer_token: s3cret-t, headers: {X-Scope-OrgID: a}}
  - name: mail
    email: {host: smtp.example.com, port: 25, tls: none, from: a@example.com, to: [b@example.com, c@example.com]}
  - {name: rest, apprise: {url: 'ntfy://s3cret'}}
  route:
    receiver: ops
    group_by: [qdrant_cluster]
    group_wait: 10s
    group_interval: 1m
    repeat_interval: 1h
    routes:
    - {match: ['severity="critical"'], receiver: pager, continue: true}
    - {match: [collection=~tmp_.*], mute: [nights], group_by: ['...'], routes: [{match: [a!=b], receiver: mail}]}
  mute_times:
  - name: nights
    windows:
    - times: [{start: '22:00', end: '24:00'}]
      weekdays: ['monday:friday']
      days_of_month: ['1:7', '-1']
      months: [december]
      years: ['2027']
      location: Europe/Berlin
  inhibit: [{source: PeerDown, target: SearchSlow, equal: [qdrant_cluster]}]
  heartbeat: {url: 'https://hc.example.com/s3cret', method: POST, interval: 2m}
"""


def test_every_option_of_alerting_arrives(tmp_path: Path) -> None:
    """Durations come as seconds, secrets as secrets, routes as a tree."""
    (tmp_path / "mine.yaml").touch()

    alerting = settings_of(tmp_path, SOME_OF_EVERYTHING).alerting

    assert alerting.preset == "guide"
    assert alerting.rule_files == (tmp_path / "mine.yaml",)
    assert alerting.rules == {
        "IndexingLag": RuleOverride(
            levels={"warning": LevelOverride(threshold=5, clear=3, for_seconds=60)},
            keep_firing_for_seconds=120,
            labels={"team": "s"},
        ),
        "PeerDown": RuleOverride(enabled=False),
    }
    by_name = {receiver.name: receiver for receiver in alerting.receivers}
    assert by_name["ops"].slack == SlackSettings(
        url=Secret("https://hooks.example.com/services/s3cret"), deadline_seconds=5
    )
    assert by_name["pager"].pagerduty == PagerDutySettings(
        routing_key=Secret("0123456789abcdef0123456789abcdef")
    )
    assert by_name["bot"].webhook == WebhookSettings(
        url=Secret("http://127.0.0.1:9/s3cret"), username="u", password=Secret("s3cret-p"),
        signing_secret=Secret("s3cret-k"),
    )  # fmt: skip
    assert by_name["am"].alertmanager == AlertmanagerSettings(
        urls=("http://am-0:9093", "http://am-1:9093/x"), bearer_token=Secret("s3cret-t"),
        headers={"X-Scope-OrgID": "a"},
    )  # fmt: skip
    assert by_name["mail"].email == EmailSettings(
        host="smtp.example.com", port=25, tls="none", sender="a@example.com",
        recipients=("b@example.com", "c@example.com"),
    )  # fmt: skip
    assert alerting.route == RouteSettings(
        receiver="ops", group_by=("qdrant_cluster",), group_wait_seconds=10, group_interval_seconds=60,
        repeat_interval_seconds=3_600,
        routes=(
            RouteSettings(match=('severity="critical"',), receiver="pager", continue_=True),
            RouteSettings(
                match=("collection=~tmp_.*",), mute=("nights",), group_by=("...",),
                routes=(RouteSettings(match=("a!=b",), receiver="mail"),),
            ),
        ),
    )  # fmt: skip
    window = TimeWindow(
        times=(ClockRange(start="22:00", end="24:00"),), weekdays=("monday:friday",),
        days_of_month=("1:7", "-1"), months=("december",), years=("2027",), location="Europe/Berlin",
    )  # fmt: skip
    assert alerting.mute_times == (MuteTimeSettings(name="nights", windows=(window,)),)
    assert alerting.inhibit == (
        InhibitSettings(source="PeerDown", target="SearchSlow", equal=("qdrant_cluster",)),
    )
    assert alerting.heartbeat == HeartbeatSettings(
        url=Secret("https://hc.example.com/s3cret"), method="POST", interval_seconds=120
    )


def test_every_secret_of_alerting_is_known_and_none_is_shown(tmp_path: Path) -> None:
    """The log hides what `secrets` names; GET /config shows `<secret>` in their place."""
    (tmp_path / "mine.yaml").touch()
    loaded = settings_of(tmp_path, SOME_OF_EVERYTHING)

    hidden = {secret.reveal() for secret in loaded.secrets()}

    assert len(hidden) == 8
    assert sum("s3cret" in text for text in hidden) == 7
    assert "s3cret" not in redacted_yaml(loaded) + repr(loaded)
    assert "0123456789abcdef" not in redacted_yaml(loaded) + repr(loaded)


def test_the_shown_alerting_loads_to_the_same_settings(tmp_path: Path) -> None:
    """What GET /config shows can be copied into a file, secrets aside."""
    loaded = settings_of(tmp_path, PEERS + "alerting: {rules: {PeerDown: {levels: {critical: {for: 5m}}}}}")

    assert settings_of(tmp_path, redacted_yaml(loaded)) == loaded


def test_alerting_is_on_only_where_there_is_a_receiver(tmp_path: Path) -> None:
    """Nothing is evaluated for nobody."""
    assert not settings_of(tmp_path, PEERS).alerting.enabled
    assert settings_of(tmp_path, ONE).alerting.enabled


def of(tail: str, *expected: str, before: str = ONE) -> tuple[str, list[str]]:
    """A file with these lines behind two receivers or one, and what is said of it."""
    return before + tail, [f"config.yaml: alerting.{line}" for line in expected]


BAD = [
    of("", "receivers.0: the receiver has no kind; write one of slack, pagerduty, webhook, alertmanager, email, apprise",
       before=PEERS + "alerting: {receivers: [{name: a}]}"),
    of("", "receivers.0: a receiver has one kind and this one has slack and webhook; make a receiver of each",
       before=PEERS + "alerting: {receivers: [{name: a, slack: {url: 'https://a'}, webhook: {url: 'https://b'}}]}"),
    of("", "receivers.0.name: is missing and must be written", "receivers.0.slack.url: is missing and must be written",
       before=PEERS + "alerting: {receivers: [{slack: {}}]}"),
    of("", "receivers.0.name: a receiver's name has 1 to 63 letters, digits, dots, hyphens and underscores and starts with a letter or digit",
       before=PEERS + "alerting: {receivers: [{name: 'a b', slack: {url: 'https://a'}}]}"),
    of("", "receivers.1.name: another receiver has this name already; write another",
       before=PEERS + "alerting: {receivers: [{name: a, slack: {url: 'https://a'}}, {name: a, slack: {url: 'https://b'}}], route: {receiver: a}}"),
    of("", "receivers.1: b and a are one place; write it once, and name it in every route to it",
       before=PEERS + "alerting: {receivers: [{name: a, slack: {url: 'https://s3cret'}}, {name: b, slack: {url: 'https://s3cret', deadline: 5s}}], route: {receiver: a}}"),
    of("", "receivers.1.name: another receiver has this name already; write another",
       before=PEERS + "alerting: {receivers: [{name: a, slack: {url: 'https://a'}}, {name: a, slack: {url: 'https://a'}}], route: {receiver: a}}"),
    of("", "receivers.0.slak: there is no such key; did you mean slack?",
       before=PEERS + "alerting: {receivers: [{name: a, slak: {url: 'https://a'}}]}"),
    of("", "route: there are several receivers; write route: {receiver: NAME} to say who is told", before=TWO),
    of("  route: {group_wait: 1s}\n", "route: there are several receivers; write receiver: with the one for what no route below takes", before=TWO),
    of("  route: {receiver: opps}\n", "route.receiver: there is no such receiver; did you mean ops?"),
    of("  route: {receiver: zzz}\n", "route.receiver: there is no such receiver; known here: ops"),
    of("  route: {receiver: zzz}\n", "route.receiver: there is no such receiver; none is written", before=PEERS + "alerting:\n"),
    of("  route: {match: [a=b], mute: [x], continue: true}\n",
       "route.match: the first route takes every alert; move match: into a route under routes:",
       "route.mute.0: there is no such mute time; none is written",
       "route.mute: the first route is never muted, or nobody would be told; move mute: into a route under routes:",
       "route.continue: nothing comes after the first route; remove it, or move it into a route under routes:"),
    of("  route: {routes: [{match: ['severity'], routes: [{receiver: x, match: ['a=~\"(\"']}]}]}\n",
       "route.routes.0.match.0: write a matcher such as severity=\"critical\", collection=~\"tmp_.*\", peer!=\"a\" or team!~\"x|y\"",
       "route.routes.0.routes.0.match.0: behind =~: this is not a regular expression that Prometheus knows (RE2): missing ): (",
       "route.routes.0.routes.0.receiver: there is no such receiver; known here: ops"),
    of("  route: {group_wait: 2h, group_interval: 0s, repeat_interval: 5}\n",
       "route.group_wait: write 0s to 1h: who is told an hour later is told too late",
       "route.group_interval: write 1s to 1d: it is the pause between two updates",
       "route.repeat_interval: write a duration with its unit, for example 30s, 5m or 1h30m"),
    of("  route: {group_by: ['...', a], routes: [{match: [a=b], group_by: [a-b]}]}\n",
       'route.group_by: "..." means every label; write it alone',
       "route.routes.0.group_by: a label's name has letters, digits and underscores and starts with no digit"),
    of("  mute_times: [{name: a, windows: []}, {name: a, windows: [{}]}]\n",
       "mute_times.0.windows: the list is empty; write a window",
       "mute_times.1.windows.0: the window never ends; write times, weekdays, days_of_month, months or years",
       "mute_times.1.name: another mute time has this name already; write another"),
    of("  mute_times: [{name: a, windows: [{times: [{start: '22:00', end: '06:00'}, {start: '25:00', end: 360}]}]}]\n",
       "mute_times.0.windows.0.times.0: the end is not after the start; over midnight write two: to 24:00, and from 00:00",
       'mute_times.0.windows.0.times.1.start: write a time of day in quotes, "00:00" to "24:00"',
       "mute_times.0.windows.0.times.1.end: write text here; put quotes around a number, a date or yes and no"),
    of("  mute_times: [{name: a, windows: [{weekdays: [mon], days_of_month: ['0'], months: ['13'], years: ['99'], location: Mars}]}]\n",
       'mute_times.0.windows.0.weekdays.0: write a weekday in English, "monday", or two, "saturday:sunday"',
       "mute_times.0.windows.0.days_of_month.0: no month has a day 0; the first is 1, the last is -1",
       'mute_times.0.windows.0.months.0: write a month, "december" or "12", or two, "6:8"',
       'mute_times.0.windows.0.years.0: write a year in quotes, "2027", or two, "2027:2029"',
       "mute_times.0.windows.0.location: there is no such time zone on this machine; write UTC or a name such as Europe/Berlin"),
    of("  inhibit: [{source: A, target: C, equal: [x]}, {source: A, target: B, equal: []}, {source: a b, target: B, equal: [c]}]\n",
       "inhibit.1.equal: the list is empty; write a label that both have, qdrant_cluster at least",
       "inhibit.2.source: a rule's name is one word of letters and digits such as IndexingLag"),
    of("  rules: {PeerDown: {levels: {fatal: {for: 1m}, warning: {thresold: 1, for: 8d, clear: 'x', threshold: .inf}}, labels: {severity: x}}}\n",
       "rules.PeerDown.levels.fatal: write one of 'critical', 'error', 'warning' or 'info'",
       "rules.PeerDown.levels.warning.threshold: write a finite number",
       "rules.PeerDown.levels.warning.clear: write a number",
       "rules.PeerDown.levels.warning.for: write 0s to 7d: what lasts a week is no news any more",
       "rules.PeerDown.levels.warning.thresold: there is no such key; did you mean threshold?",
       "rules.PeerDown.labels.severity: the label severity comes from the rule itself; choose another name"),
    of("  rule_files: [gone.yaml]\n  preset: seed\n",
       "rule_files.0: there is no file gone.yaml that we may see", "preset: write one of 'default' or 'guide'"),
    of("  heartbeat: {url: 'ftp://x', method: PUT, interval: 5s}\n",
       "heartbeat.url: write a URL with a host that starts with https:// or http://",
       "heartbeat.method: write one of 'GET' or 'POST'",
       "heartbeat.interval: write 15s to 1h: services take five pings a minute at most"),
]  # fmt: skip

BAD_RECEIVERS = [
    ("slack: {url: 'https://user:s3cret@h/'}", "slack.url: a user or password does not belong in a URL; write username: and password:"),
    ("slack: {url: 'https://h/#s3cret'}", "slack.url: what stands behind the # of a URL is never sent; remove it"),
    ("slack: {url: 's3cret'}", "slack.url: write a URL with a host that starts with https:// or http://"),
    ("slack: {url: 'https://[s3cret'}", "slack.url: this is not a URL; write one that starts with https:// or http://"),
    ("slack: {url: 'https://h/s3cret', deadline: 2m}", "slack.deadline: write 1s to 1m: a receiver that takes longer is retried instead"),
    ("pagerduty: {routing_key: s3cret}", "pagerduty.routing_key: this is no key of PagerDuty's Events API v2: it has 32 letters and digits and stands at the service under Integrations"),
    ("webhook: {url: 'https://h', username: u}", "webhook: username and password belong together: write both or neither"),
    ("webhook: {url: 'https://h', username: u, password: s3cret, bearer_token: s3cret}", "webhook: bearer_token and password are both written; one is sent, remove the other"),
    ("alertmanager: {urls: []}", "alertmanager.urls: the list is empty; write the URL of a member"),
    ("alertmanager: {urls: ['http://a', 'http://a']}", "alertmanager.urls: the URL of a member is written twice; remove one"),
    ("alertmanager: {urls: ['http://a'], headers: {Authorization: s3cret}}", "alertmanager.headers.Authorization: this header is written by us; for authentication write bearer_token:, or username: and password:"),
    ('alertmanager: {urls: ["http://a"], headers: {X-A: "s3cret\\nX-B: 1"}}', "alertmanager.headers.X-A: a header is one line of visible ASCII characters"),
    ('email: {host: h, from: "a@b\\nBcc: c@d", to: [a@b]}', "email.from: write one mail address such as oncall@example.com and nothing else"),
    ('email: {host: h, from: a@b, to: ["s3cret"]}', "email.to.0: write one mail address such as oncall@example.com and nothing else"),
    ("email: {host: h, from: a@b, to: []}", "email.to: the list is empty; write a mail address"),
    ("email: {host: 'smtp://h', from: a@b, to: [a@b]}", "email.host: write the host of the mail server alone, such as smtp.example.com; port: is a key"),
    ("email: {host: h, port: 0, from: a@b, to: [a@b], tls: yes}", "email.port: write 1 to 65535: it is a TCP port"),
    ("email: {host: h, from: a@b, to: [a@b], password: s3cret}", "email: username and password belong together: write both or neither"),
    ("apprise: {url: s3cret}", "apprise.url: write an apprise URL such as ntfy://topic"),
]  # fmt: skip


def _without_lines(problems: list[str]) -> set[str]:
    return {"config.yaml: " + problem.split(": ", 1)[1] for problem in problems}


@pytest.mark.parametrize(("text", "expected"), BAD, ids=range(len(BAD)))
def test_bad_alerting_is_explained_with_path_and_what_to_write(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    """Every problem at once; none repeats a secret."""
    problems = [problem.replace(f"{tmp_path}/", "") for problem in problems_of(tmp_path, text)]

    assert _without_lines(problems) == set(expected)
    assert len(problems) == len(expected)
    assert all(re.match("config.yaml:[2-5]: ", problem) for problem in problems)
    assert not any("s3cret" in problem for problem in problems)


@pytest.mark.parametrize(("kind", "expected"), BAD_RECEIVERS, ids=range(len(BAD_RECEIVERS)))
def test_a_bad_receiver_is_explained_and_its_secrets_stay_secret(
    tmp_path: Path, kind: str, expected: str
) -> None:
    """A key in the wrong place must not end up in a log."""
    text = PEERS + "alerting: {receivers: [{name: a, " + kind + "}]}"

    problems = problems_of(tmp_path, text)

    assert f"config.yaml:2: alerting.receivers.0.{expected}" in problems
    assert not any("s3cret" in problem for problem in problems)


def test_a_key_that_two_receivers_read_from_two_files_is_one_place(tmp_path: Path) -> None:
    """Each would end the other's incidents there."""
    for name in ("old", "new"):
        (tmp_path / name).write_text("0123456789abcdef0123456789abcdef\n")
    receivers = (
        "{name: a, pagerduty: {routing_key: {file: old}}}, {name: b, pagerduty: {routing_key: {file: new}}}"
    )

    problems = problems_of(
        tmp_path, PEERS + f"alerting: {{receivers: [{receivers}], route: {{receiver: a}}}}"
    )

    assert problems == [
        "config.yaml:2: alerting.receivers.1: b and a are one place; write it once, and name it in every route to it"
    ]


def test_what_works_and_should_not_stay_so_is_a_warning(tmp_path: Path) -> None:
    """Secrets on plain http, receivers that nobody reaches, routes that never match."""
    text = (
        PEERS
        + """\
alerting:
  receivers:
  - {name: a, slack: {url: 'http://chat/x'}}
  - {name: b, webhook: {url: 'http://bot/x', bearer_token: t}}
  - {name: c, webhook: {url: 'http://localhost/x', bearer_token: t}}
  - {name: d, alertmanager: {urls: ['http://am'], username: u, password: p}}
  - {name: e, email: {host: smtp, tls: none, username: u, password: p, from: a@b, to: [a@b]}}
  route: {receiver: a, routes: [{receiver: b}, {match: [x=y], receiver: c}, {match: [x=z], receiver: d}]}
"""
    )

    assert warnings_of(settings_of(tmp_path, text)) == (
        "alerting.receivers.0.slack.url: goes over plain http, readable on the way; use https",
        "alerting.receivers.1.webhook.bearer_token: goes over plain http, readable on the way; use https",
        "alerting.receivers.3.alertmanager.password: goes over plain http, readable on the way; use https",
        "alerting.receivers.4.email.password: goes to the mail server in plain text, readable on the way; use tls: starttls",
        "alerting.receivers.4: is never told anything, because no route names it",
        "alerting.route.routes.0: has no match:, so those behind it are never reached",
    )
    assert warnings_of(settings_of(tmp_path, PEERS + "alerting: {preset: guide}")) == (
        "alerting: has no effect, because it has no receivers",
    )


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_one_webhook_can_be_given_without_a_file(by: str) -> None:
    """`run --qdrant.url U --alert.webhook URL` turns the shipped rules on."""
    flags: dict[str, Any] = {"qdrant.url": ["http://a"]}
    environment = {}
    if by == "flag":
        flags["alert.webhook"] = "https://h/x"
    else:
        environment["QDRANT_EXPORTER_ALERT_WEBHOOK"] = "https://h/x"

    alerting = load(None, flags, environment).alerting

    webhook = WebhookSettings(url=Secret("https://h/x"))
    assert alerting == AlertingSettings(receivers=(ReceiverSettings(name="webhook", webhook=webhook),))


def test_the_webhook_of_the_flag_goes_with_a_file_that_has_no_receivers(tmp_path: Path) -> None:
    """The file may say the rest: rules, heartbeat, route."""
    alerting = settings_of(
        tmp_path, PEERS + "alerting: {preset: guide}", flags={"alert.webhook": "https://h/x"}
    ).alerting

    assert (alerting.preset, [receiver.name for receiver in alerting.receivers]) == ("guide", ["webhook"])


def test_the_webhook_of_the_flag_is_refused_beside_receivers_of_the_file(tmp_path: Path) -> None:
    """Whom it should replace or join, nobody could tell."""
    problems = problems_of(tmp_path, ONE, environment={"QDRANT_EXPORTER_ALERT_WEBHOOK": "https://h/s3cret"})

    assert problems == [
        "QDRANT_EXPORTER_ALERT_WEBHOOK: the configuration file has receivers already; write this there,"
        " as another receiver with webhook: {url: …}, or take receivers: out of the file"
    ]


def test_a_bad_webhook_of_the_flag_is_told_by_its_name_and_not_repeated() -> None:
    """There is no line to look at."""
    with pytest.raises(ConfigError) as caught:
        load(None, {"qdrant.url": ["http://a"], "alert.webhook": "h/s3cret"}, {})

    assert str(caught.value) == (
        "--alert.webhook: write a URL with a host that starts with https:// or http://"
    )


_WORDS = st.sampled_from(
    ["receivers", "route", "routes", "name", "a", "slack", "url", "https://h", "match", "a=b", "mute", "inhibit",
     "mute_times", "windows", "times", "source", "target", "equal", "rules", "PeerDown", "levels", "warning"]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(alerting=_VALUES)
def test_any_tree_of_alerting_gives_settings_or_problems(tmp_path: Path, alerting: object) -> None:
    """No value of a wrong type in any place makes the program fail in another way."""
    tree = {"clusters": [{"peers": ["http://a"]}], "alerting": alerting}
    file = tmp_path / "any.yaml"
    file.write_bytes(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))

    try:
        found: Settings | ConfigError = load(file, {}, {})
    except ConfigError as error:
        found = error

    assert isinstance(found, Settings | ConfigError)
