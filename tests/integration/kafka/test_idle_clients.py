"""Clients that are rarely used: errors during an outage must not accumulate inside them.

librdkafka queues errors and log lines until the client is served: about 30 KiB a second while no
broker answers.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from stream_scorer.errors import RetryableError
from stream_scorer.local.probe import plain_settings
from stream_scorer.observability import partition_watch
from stream_scorer.observability.partition_watch import KafkaBacklog
from stream_scorer.stream.rejections import ledger as rejection_ledger
from stream_scorer.stream.rejections.ledger import KafkaRejectionLedger
from tests.support.waiting import wait_until

NOBODY = plain_settings("127.0.0.1:1")


def was_logged(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether the error callback of a client was served."""
    return any(
        record.name == "stream_scorer.kafka.errors" and "Connection refused" in record.message
        for record in caplog.records
    )


def test_ledger_serves_the_errors_of_its_client(caplog: pytest.LogCaptureFixture) -> None:
    with closing(KafkaRejectionLedger(NOBODY, "group", "topic")) as ledger:
        ledger.serve()  # no client yet
        assert ledger._kept.client

        def is_logged() -> bool:
            ledger.serve()
            return was_logged(caplog)

        wait_until(is_logged, what="the outage to be logged")


def test_partition_watch_serves_the_errors_of_its_client(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_watch, "_QUERY_SECONDS", 0.2)
    with closing(KafkaBacklog(NOBODY, "group", "topic")) as backlog:

        def is_logged() -> bool:
            with pytest.raises(RetryableError):
                backlog.backlog([0])
            return was_logged(caplog)

        wait_until(is_logged, what="the outage to be logged")


def test_outage_is_never_reported_as_missing_authorization(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection_ledger, "_QUERY_SECONDS", 0.2)
    with closing(KafkaRejectionLedger(NOBODY, "group", "topic")) as ledger:
        for _ in range(2):  # every attempt fails
            with pytest.raises(RetryableError):
                ledger.read([0])
    assert "not authorized" not in caplog.text
