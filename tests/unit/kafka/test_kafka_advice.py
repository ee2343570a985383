"""What an operator reads about a Kafka error."""

from __future__ import annotations

import logging

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.advice import advice
from stream_scorer.kafka.driver import KafkaError, KafkaException
from stream_scorer.kafka.errors import ErrorCallback, translate

PEER = "ssl://127.0.0.1:9093/bootstrap: "


@pytest.mark.parametrize(
    ("name", "text", "setting"),
    [
        ("_AUTHENTICATION", "SASL authentication error", "KAFKA_SASL_PASSWORD"),
        ("_SSL", "SSL handshake failed: certificate verify failed", "KAFKA_SSL_CA_LOCATION"),
        ("_TRANSPORT", "tlsv13 alert certificate required", "ssl.certificate.location"),
        ("_TRANSPORT", "connecting to a PLAINTEXT broker listener?", "KAFKA_SECURITY_PROTOCOL"),
        ("TOPIC_AUTHORIZATION_FAILED", "Broker: Topic authorization failed", "INPUT_TOPIC"),
        ("GROUP_AUTHORIZATION_FAILED", "Broker: Group authorization failed", "KAFKA_GROUP_ID"),
        ("TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "failed", "prefixed"),
    ],
)
def test_advice_names_the_setting_to_check(name: str, text: str, setting: str) -> None:
    found = advice(name, PEER + text)
    assert found is not None
    assert setting in found


def test_transient_error_gets_no_advice() -> None:
    assert advice("_TIMED_OUT", "Local: Timed out") is None


def test_rejected_certificate_is_fatal_although_the_driver_reports_a_transport_error() -> None:
    text = PEER + "tlsv13 alert certificate required: SSL alert number 116"
    refused = KafkaException(KafkaError(KafkaError._TRANSPORT, text))
    assert isinstance(translate(refused), FatalError)
    down = KafkaException(KafkaError(KafkaError._TRANSPORT, PEER + "Connection refused"))
    assert isinstance(translate(down), RetryableError)


def test_repeated_error_is_logged_once_and_its_cause_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    callback = ErrorCallback()
    with caplog.at_level(logging.WARNING):
        for i in range(50):
            text = f"{PEER}SASL authentication error (after {i}ms in state AUTH_REQ)"
            callback(KafkaError(KafkaError._AUTHENTICATION, text))
            callback(
                KafkaError(KafkaError._TRANSPORT, f"{PEER}Disconnected (after {i}ms in state UP)")
            )
            callback(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "WARNING"]
    assert "KAFKA_SASL_PASSWORD" in caplog.records[0].getMessage()
    assert callback.last is not None
    assert callback.last.code() == KafkaError._AUTHENTICATION
