"""Clients that only ask now and then: what an outage tells them must not pile up inside them.

librdkafka queues errors and log lines until somebody serves the client: some 30 KiB a second while
no broker answers.
"""

from __future__ import annotations

from contextlib import closing

import pytest

from stream_scorer.errors import RetryableError
from stream_scorer.local.probe import plain_settings
from stream_scorer.observability import partition_watch
from stream_scorer.observability.partition_watch import KafkaBacklog
from stream_scorer.stream import rejection_ledger
from stream_scorer.stream.rejection_ledger import KafkaRejectionLedger
from tests.support.waiting import wait_until

NOBODY = plain_settings("127.0.0.1:1")


def was_told(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether an error has come out of a client."""
    return any(
        record.name == "stream_scorer.kafka.errors" and "Connection refused" in record.message
        for record in caplog.records
    )


def test_ledger_takes_what_its_client_has_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    with closing(KafkaRejectionLedger(NOBODY, "group", "topic")) as ledger:
        ledger.serve()  # there is no client yet
        ledger._open()

        def told() -> bool:
            ledger.serve()
            return was_told(caplog)

        wait_until(told, what="the outage to be told")


def test_watch_over_the_partitions_takes_what_its_client_has_to_tell(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition_watch, "_QUERY_SECONDS", 0.2)
    with closing(KafkaBacklog(NOBODY, "group", "topic")) as backlog:

        def told() -> bool:
            with pytest.raises(RetryableError):
                backlog.backlog([0])
            return was_told(caplog)

        wait_until(told, what="the outage to be told")


def test_outage_is_never_taken_for_a_missing_right(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejection_ledger, "_QUERY_SECONDS", 0.2)
    with closing(KafkaRejectionLedger(NOBODY, "group", "topic")) as ledger:
        for _ in range(2):  # it goes on asking
            with pytest.raises(RetryableError):
                ledger.read([0])
    assert "not authorized" not in caplog.text
