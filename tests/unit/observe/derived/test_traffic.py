"""The server's request counters and the error ratio made of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.observe.sources.traffic import read, rest_operation
from exporter.qdrant.answers import decode
from exporter.qdrant.payloads import Requests, Telemetry, result
from tests.kit.derivation import Deployment, body_of
from tests.kit.recordings import recording

PEER = "qdrant:6333"
REST = "error_ratio{peer=qdrant:6333,protocol=rest}"


def telemetry(*, ok: int, failed: int, process: str = "one", started: str = "2026-11-23T01:00:00Z") -> Any:
    answer = recording("v1.18.3/single/green/telemetry_3").json
    answer["result"]["id"] = process
    answer["result"]["app"]["startup"] = started
    answer["result"]["requests"] = {
        "rest": {
            "responses": {
                "POST /collections/{collection_name}/points/query": {
                    "200": {"count": ok},
                    "500": {"count": failed},
                },
                "GET /telemetry": {"200": {"count": 100_000}},
                "POST /collections/{collection_name}/snapshots": {"500": {"count": 9_000}},
            }
        },
        "grpc": {"responses": {}},
    }
    return answer


def test_the_ratio_is_of_data_routes_within_the_window() -> None:
    """Our own polls and failed snapshots do not count; what came before the window neither."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, telemetry(ok=1_000, failed=500))
    assert REST not in deployment.readings()
    deployment.clock.advance(15)

    deployment.telemetry(PEER, telemetry(ok=1_090, failed=510))

    assert deployment.readings()[REST] == pytest.approx(0.1)


def test_few_requests_make_no_ratio() -> None:
    """One failure among nineteen requests is no five per cent."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, telemetry(ok=0, failed=0))
    deployment.readings()
    deployment.clock.advance(15)

    deployment.telemetry(PEER, telemetry(ok=18, failed=1))

    assert REST not in deployment.readings()


def test_a_restart_of_the_server_makes_no_negative_and_no_false_ratio() -> None:
    """The new process counts from 0: only what it served itself is compared."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, telemetry(ok=5_000, failed=900))
    deployment.readings()
    deployment.clock.advance(15)

    started = datetime.fromtimestamp(deployment.clock.now() - 10, UTC).isoformat()
    deployment.telemetry(PEER, telemetry(ok=95, failed=5, process="two", started=started))

    assert deployment.readings()[REST] == pytest.approx(0.05)


def test_what_a_new_process_counted_in_hours_is_not_taken_for_five_minutes() -> None:
    """It restarted long ago while nobody could ask it: its counters have no beginning we know of."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, telemetry(ok=5_000, failed=900))
    deployment.readings()
    deployment.clock.advance(7_200)
    started = datetime.fromtimestamp(deployment.clock.now() - 7_000, UTC).isoformat()

    deployment.telemetry(PEER, telemetry(ok=95, failed=5, process="two", started=started))

    assert REST not in deployment.readings()


def test_an_outage_of_an_hour_is_no_window_of_five_minutes() -> None:
    """The counters went on meanwhile; what they say is not about now."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, telemetry(ok=0, failed=0))
    deployment.readings()
    deployment.clock.advance(3_600)

    deployment.telemetry(PEER, telemetry(ok=50, failed=50))

    assert REST not in deployment.readings()


def test_failures_leave_the_ratio_when_they_leave_the_window() -> None:
    """Five minutes of good answers later the burst is forgotten."""
    deployment = Deployment({PEER: None})
    ratios = []
    for minute in range(8):
        deployment.telemetry(PEER, telemetry(ok=100 * minute, failed=0 if minute == 0 else 50))
        ratios.append(deployment.readings().get(REST))
        deployment.clock.advance(60)

    assert ratios[1] == pytest.approx(50 / 150)
    assert ratios[-1] == 0


def test_grpc_codes_are_classed_and_rate_limits_are_not_failures() -> None:
    """26 good gRPC queries, 19 rate limited, one bad, one missing, as recorded."""
    answer = recording("v1.18.3/single/grpc/telemetry_3").json

    raw = result(body_of(answer), Telemetry, "/telemetry").requests
    requests = decode(raw, Requests, "/telemetry")
    told = {(one.operation, one.outcome): one.count for one in read(requests) if one.protocol == "grpc"}

    assert told == {
        ("Query", "client_error"): 2,
        ("Query", "rate_limited"): 19,
        ("Query", "ok"): 26,
        ("Upsert", "ok"): 1,
        ("Count", "ok"): 1,
        ("Scroll", "ok"): 1,
        ("Get", "ok"): 1,
    }


def test_rest_data_routes_keep_method_and_path_and_nothing_else_counts() -> None:
    """Aliases and missing collections are in the server's numbers under the route's template."""

    assert rest_operation("POST /collections/{collection_name}/points/query") == "POST points/query"
    assert rest_operation("PUT /collections/{name}/points") == "PUT points"
    assert rest_operation("POST /collections/{collection_name}/facet") == "POST facet"
    assert rest_operation("GET /collections/{collection_name}/cluster") is None
    assert rest_operation("PUT /collections/{collection_name}") is None
    assert rest_operation("GET unknown") is None
