"""What an operator is told about an error of Kafka's."""

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
def test_setting_to_look_at_is_named(name: str, text: str, setting: str) -> None:
    found = advice(name, PEER + text)
    assert found is not None
    assert setting in found


def test_what_passes_by_itself_gets_no_advice() -> None:
    assert advice("_TIMED_OUT", "Local: Timed out") is None


def test_refused_certificate_is_fatal_though_the_driver_calls_it_transport() -> None:
    text = PEER + "tlsv13 alert certificate required: SSL alert number 116"
    refused = KafkaException(KafkaError(KafkaError._TRANSPORT, text))
    assert isinstance(translate(refused), FatalError)
    down = KafkaException(KafkaError(KafkaError._TRANSPORT, PEER + "Connection refused"))
    assert isinstance(translate(down), RetryableError)


def test_same_trouble_is_logged_once_and_the_cause_outlives_its_consequences(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = ErrorCallback()
    with caplog.at_level(logging.WARNING):
        for i in range(50):
            text = f"{PEER}SASL authentication error (after {i}ms in state AUTH_REQ)"
            trouble(KafkaError(KafkaError._AUTHENTICATION, text))
            trouble(
                KafkaError(KafkaError._TRANSPORT, f"{PEER}Disconnected (after {i}ms in state UP)")
            )
            trouble(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "WARNING"]
    assert "KAFKA_SASL_PASSWORD" in caplog.records[0].getMessage()
    assert trouble.last is not None
    assert trouble.last.code() == KafkaError._AUTHENTICATION
