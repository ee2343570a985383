"""The campaign's control, which commits without transactions, must go on after a first rebalance.

Scores of a partition without a committed offset stop every scorer, by design. The control has to
repeat scores instead, or its audit has nothing to find.
"""

from __future__ import annotations

from typing import Any

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException, TopicPartition
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream import kafka_broker, kafka_producer
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.ports import Polled
from tests.chaos.scorer import UnsafeBroker
from tests.support.kafka.fake_clients import Group, Sink

REBALANCING = KafkaException(KafkaError(KafkaError.REBALANCE_IN_PROGRESS))


class CommittingGroup(Group):
    """Keeps what the member commits, unless it is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[dict[int, int]] = []
        self.refusal: KafkaException | None = None

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        if self.refusal is not None:
            raise self.refusal
        self.commits.append({place.partition: place.offset for place in offsets})
        return offsets


@pytest.fixture
def group() -> CommittingGroup:
    return CommittingGroup()


@pytest.fixture
def control(group: CommittingGroup, monkeypatch: pytest.MonkeyPatch) -> UnsafeBroker:
    sink = Sink()

    def build(kind: Any, _: object) -> Any:
        return group if kind is Consumer else sink

    for module in (kafka_broker, kafka_producer):
        monkeypatch.setattr(module, "build_client", build)
    return UnsafeBroker(KafkaSettings(), GroupOptions("g", "t", txn_timeout_ms=1, producers=1))


def poll(control: UnsafeBroker) -> Polled:
    polled = control.poll(10, 0.0)
    assert polled is not None
    return polled


def test_control_commits_where_it_begins_before_anything_is_published(
    control: UnsafeBroker, group: CommittingGroup
) -> None:
    first = poll(control)
    assert group.commits == [{0: 0, 1: 0}]
    control.begin().commit(first)
    poll(control)
    assert group.commits == [{0: 0, 1: 0}, {0: 1, 1: 1}]  # no more than the batch's own


def test_control_returns_nothing_while_it_cannot_commit_where_it_begins(
    control: UnsafeBroker, group: CommittingGroup
) -> None:
    group.refusal = REBALANCING
    group.committed = lambda places, _: [TopicPartition("t", p.partition, 5) for p in places]
    for _ in range(2):
        with pytest.raises(RetryableError):
            control.poll(10, 0.0)
    assert {(p.partition, p.offset) for p in group.sought} == {(0, 5), (1, 5)}  # read again
    group.refusal = None
    assert poll(control).first_offsets() == group.commits[0]


def test_refused_commit_ends_the_control_as_its_records_are_published(
    control: UnsafeBroker, group: CommittingGroup
) -> None:
    polled = poll(control)
    group.refusal = REBALANCING
    txn = control.begin()
    with pytest.raises(RetryableError):
        txn.commit(polled)
    with pytest.raises(FatalError, match="cannot be undone"):
        txn.abort(polled)
