"""Optimizer runs, each counted once, from recorded logs."""

from __future__ import annotations

import copy
from typing import Any

from tests.kit.derivation import Deployment
from tests.kit.recordings import recording

PEER = "qdrant:6333"
RUNS = "optimizer_runs_total{collection=docs,peer=qdrant:6333,optimizer="


def told() -> Any:
    return recording("v1.18.3/single/vacuum/patch_while_running.telemetry_4").json


def log_of_docs(answer: Any) -> list[Any]:
    collections = answer["result"]["collections"]["collections"]
    docs = next(one for one in collections if one["id"] == "docs")
    log: list[Any] = docs["shards"][0]["local"]["optimizations"]["log"]
    return log


def test_runs_from_before_the_daemon_are_not_counted_but_their_series_exist() -> None:
    """A counter that starts above 0 would read as an increase after each restart of the daemon."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, told())
    deployment.segments(PEER, told())

    readings = deployment.readings()

    assert readings[RUNS + "indexing,outcome=cancelled}"] == 0
    assert readings[RUNS + "vacuum,outcome=done}"] == 0


def test_an_optimizer_cancelled_again_and_again_is_counted_each_time_and_once() -> None:
    """A PATCH cancels the running optimization; the log is read twice between two of them."""
    deployment = Deployment({PEER: None})
    answer = told()
    deployment.telemetry(PEER, answer)
    deployment.segments(PEER, answer)
    deployment.readings()

    for number in range(3):
        answer = copy.deepcopy(answer)
        running = next(run for run in log_of_docs(answer) if run["status"] == "optimizing")
        running["status"] = {"cancelled": "process cancelled by service"}
        log_of_docs(answer).insert(0, {**running, "status": "optimizing", "uuid": f"next-{number}"})
        for _ in range(2):
            deployment.segments(PEER, answer)
            readings = deployment.readings()

    assert readings[RUNS + "indexing,outcome=cancelled}"] == 3
    assert readings[RUNS + "indexing,outcome=done}"] == 0


def test_the_log_of_a_restarted_server_is_counted_from_its_first_run() -> None:
    """The restart cleared the log: what stands in it now happened since."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, told())
    deployment.segments(PEER, told())
    deployment.readings()
    answer = told()
    answer["result"]["id"] = "after-the-restart"
    log = log_of_docs(answer)
    log[:] = [{"name": "indexing", "uuid": "new", "status": {"error": "no space"}, "start_at": "later"}]

    deployment.telemetry(PEER, answer)
    deployment.segments(PEER, answer)

    assert deployment.readings()[RUNS + "indexing,outcome=error}"] == 1


def test_runs_of_a_collection_that_vanished_vanish_with_it() -> None:
    """Its counters would stand still for ever otherwise."""
    deployment = Deployment({PEER: None})
    deployment.telemetry(PEER, told())
    deployment.segments(PEER, told())
    deployment.readings()
    answer = told()
    collections = answer["result"]["collections"]["collections"]
    collections[:] = [one for one in collections if one["id"] != "docs"]

    deployment.telemetry(PEER, answer)
    deployment.segments(PEER, answer)

    assert not [series for series in deployment.readings() if series.startswith(RUNS)]


def test_old_servers_without_a_run_id_are_counted_by_name_and_start() -> None:
    """1.12.6 gives a run no uuid; two runs of one optimizer differ by when they began."""
    deployment = Deployment({PEER: None})
    answer = recording("v1.12.6/single/green/telemetry_4").json
    deployment.telemetry(PEER, answer)
    deployment.segments(PEER, answer)
    deployment.readings()
    log = log_of_docs(answer)
    log.insert(0, {**log[0], "status": "done", "start_at": "2026-11-23T09:00:00Z"})

    deployment.segments(PEER, answer)
    deployment.readings()
    deployment.segments(PEER, answer)

    assert deployment.readings()[RUNS + f"{log[0]['name']},outcome=done}}"] == 1
