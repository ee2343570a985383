"""The reports of the probes."""

from __future__ import annotations

import pytest

from stream_scorer.observability.probes import Health


def test_process_is_ready_once_the_model_is_loaded_and_the_group_joined() -> None:
    loaded = False
    health = Health(lambda: loaded)
    assert not health.report()["ready"]
    health.joined()
    assert not health.report()["ready"]
    loaded = True
    report = health.report()
    assert report["ready"]
    assert report["model_loaded"]
    assert report["joined_group"]
    assert report["problem"] is None


def test_process_with_a_model_outside_the_group_is_not_ready() -> None:
    assert not Health(lambda: True).report()["ready"]


def test_problem_with_kafka_is_reported_and_changes_neither_liveness_nor_readiness() -> None:
    health = Health(lambda: True)
    health.joined()
    health.problem = "kafka: all brokers are down"
    assert health.is_live()
    assert health.report()["ready"]
    assert health.report()["problem"] == "kafka: all brokers are down"


def test_outage_is_the_problem_and_ends_readiness_but_never_liveness() -> None:
    health = Health(lambda: True)
    health.joined()
    health.problem = "batch aborted"
    health.outage = "no Kafka broker answers"
    assert health.is_live()
    assert not health.report()["ready"]
    assert health.report()["problem"] == "no Kafka broker answers"
    health.outage = None
    assert health.report()["ready"]
    assert health.report()["problem"] == "batch aborted"


def test_process_without_heartbeats_is_neither_live_nor_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1_000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    health = Health(lambda: True)
    health.joined()
    now += 119
    assert health.is_live()
    now += 2
    assert not health.is_live()
    assert not health.report()["ready"]
    assert health.report()["seconds_since_heartbeat"] == 121.0
    health.heartbeat()
    assert health.is_live()
