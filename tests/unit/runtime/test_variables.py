"""Mistyped environment variables are named with the nearest real one."""

from __future__ import annotations

import logging

import pytest

from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.settings import LogSettings, load_settings
from stream_scorer.runtime.variables import VARIABLES, find_mistyped
from tests.k8s.support.known_settings import OF_LIBRARIES, known_names


def test_list_has_exactly_the_variables_of_all_processes() -> None:
    assert known_names() - OF_LIBRARIES == VARIABLES, "add or remove it in runtime/variables.py"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("KAFKA_BOOTSTAP_SERVERS", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAKFA_GROUP_ID", "KAFKA_GROUP_ID"),
        ("KAFKA_GROUPID", "KAFKA_GROUP_ID"),
        ("INPUT_TOPICS", "INPUT_TOPIC"),
        ("BATCH_MAX_RECORD", "BATCH_MAX_RECORDS"),
        ("MODEL_STORE_URL", "MODEL_STORE_URI"),
        ("MODEL_TRUSTED_KEY", "MODEL_TRUSTED_KEYS"),
        ("DASHBOARD_TOKEN_FILE", "DASHBOARD_TOKENS_FILE"),
        ("METRIC_PORT", "METRICS_PORT"),
        ("REJECTIONS_MAX_RUN", "REJECTION_MAX_RUN"),
        ("TRAIN_TRANSACTION_URI", "TRAIN_TRANSACTIONS_URI"),
        ("log_levl", "LOG_LEVEL"),
    ],
)
def test_near_miss_is_named_with_the_real_variable(given: str, meant: str) -> None:
    assert list(find_mistyped([given])) == [(given, meant)]


@pytest.mark.parametrize(
    "name",
    [
        "KAFKA_HOME",
        "KAFKA_OPTS",
        "KAFKA_HEAP_OPTS",
        "KAFKA_LOG4J_OPTS",
        "KAFKA_BOOTSTRAP_SERVICE_HOST",
        "KAFKA_BOOTSTRAP_SERVICE_PORT_TCP",
        "STREAM_SCORER_PORT_9100_TCP_ADDR",
        "MODEL_NAME",
        "LOG_FILE",
        "LOG_DIR",
        "PATH",
        "HOSTNAME",
        "AWS_ENDPOINT_URL",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "MLFLOW_TRACKING_USERNAME",
        "kafka_group_id",
    ],
)
def test_other_names_are_left_alone(name: str) -> None:
    assert list(find_mistyped([name])) == []


def test_no_real_variable_counts_as_mistyped() -> None:
    assert list(find_mistyped(known_names())) == []


def test_process_warns_without_showing_the_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASWORD", "hunter2")
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    handlers = logging.getLogger().handlers[:]
    try:
        configure_logging("scorer", load_settings(LogSettings))
    finally:
        logging.getLogger().handlers[:] = handlers
    shown = capsys.readouterr().err
    assert (
        "KAFKA_SASL_PASWORD is set, but no process reads it: did you mean KAFKA_SASL_PASSWORD?"
        in shown
    )
    assert "hunter2" not in shown
