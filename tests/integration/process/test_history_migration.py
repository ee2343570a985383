"""Card history on a running scorer and real Kafka: its beginning, a new era, more partitions.

Every score is compared, bit for bit, with one plain pass over the inputs of its partition.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import pytest

from schemas.batch import build_batch
from stream_scorer.__main__ import main
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.kafka.admin import extend_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.mark import format_mark, parse_mark
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.settings import GroupSettings
from tests.conftest import MakeTopics
from tests.support.factories import publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.scorer_kit import running, scorer_settings
from tests.support.state.history_kit import fold
from tests.support.state.published import SPEC, publish_history
from tests.support.state.scored_kit import ScoredStream, rows_of
from tests.support.waiting import wait_until


class OpenStream(Protocol):
    """Creates topics with a number of partitions, and a store; commands then work on both."""

    def __call__(self, partitions: int) -> ScoredStream: ...


@pytest.fixture
def open_stream(
    kafka: KafkaUnderTest,
    topics: MakeTopics,
    environment: GroupSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> OpenStream:
    def build(partitions: int) -> ScoredStream:
        names, group = topics(partitions), environment.kafka_group_id
        settings = scorer_settings(kafka, names, group, tmp_path)
        for name, value in (names.model_dump() | {"model_store_uri": settings.store_uri}).items():
            monkeypatch.setenv(name.upper(), str(value))
        return ScoredStream(settings, FileStore(tmp_path / "store"), partitions)

    return build


def test_model_with_card_history_follows_one_without_and_goes_back(
    open_stream: OpenStream,
) -> None:
    stream = open_stream(3)
    plain = publish(stream.store)
    past = rows_of(300, 7, 0)
    with running(stream.settings) as process:
        stream.produce(rows_of(150, 1, 60))
        stream.wait_for_scores()
        version = publish_history(stream.store, stream.histories, past, is_promoted=False)
        seed = fold(SPEC, build_batch(past))[1].records()
        as_of = max(row["TransactionDT"] for row in past)
        stream.begin = lambda: PartitionHistory.restore(SPEC, seed, as_of=as_of)
        assert main(["history", "build", "--seed", version]) == 0
        stream.promote(version)
        stream.produce(rows_of(200, 2, 230))
        stream.wait_for_scores()
        stream.promote(plain)
        stream.produce(rows_of(50, 3, 260))
        stream.wait_for_scores()
        stream.promote(version)
        stream.produce(rows_of(100, 4, 290))
        versions = stream.check_scores()
        wait_until(lambda: process.report()["ready"], what="the scorer to be ready")
    assert min(versions[plain], versions[version]) > 200
    stream.begin = lambda: PartitionHistory(SPEC)
    with pytest.raises(AssertionError, match=version):  # the comparison finds a missing seed
        stream.check_scores()
    assert stream.histories.eras(SPEC.fingerprint) == [1]
    marks = [parse_mark(place.metadata) for place in stream.committed().values()]
    assert all(mark["era"] == "1" and len(mark["sum"]) == 16 for mark in marks)


def test_partition_with_another_history_is_held_until_a_new_era(open_stream: OpenStream) -> None:
    stream = open_stream(3)
    publish_history(stream.store, stream.histories)
    with running(stream.settings):
        stream.produce(rows_of(150, 1, 0))
        stream.wait_for_scores()
    place = stream.committed()[1]
    mark = parse_mark(place.metadata)
    wrong = format_mark({**mark, "sum": f"{int(mark['sum'], 16) ^ 1:016x}"})
    stream.commit(TopicPartition(place.topic, 1, place.offset, wrong))
    with running(stream.settings) as process:
        stream.produce(rows_of(90, 2, 60))
        others = sum(len(own) for p, own in enumerate(stream.inputs) if p != 1)
        wait_until(lambda: "check sum" in (process.report()["problem"] or ""), what="the mismatch")
        wait_until(
            lambda: len(stream.read_scores()) == others + place.offset,
            what="scores of the other partitions",
        )
        assert "partition 1" in process.report()["problem"]
        assert main(["history", "build", "--from", "snapshots"]) == 0
        stream.wait_for_scores()
        wait_until(lambda: process.report()["ready"], what="the scorer to be ready")
        stream.produce(rows_of(60, 3, 90))
        stream.check_scores()
    assert stream.histories.eras(SPEC.fingerprint) == [1, 2]
    eras = {parse_mark(one.metadata)["era"] for one in stream.committed().values()}
    assert eras == {"2"}


def test_histories_move_with_their_cards_to_more_partitions(
    open_stream: OpenStream, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = open_stream(2)
    publish_history(stream.store, stream.histories)
    with running(stream.settings):
        stream.produce(rows_of(200, 1, 0))
        stream.wait_for_scores()
        stream.check_scores()
    before = [row for own in stream.inputs for row in own]
    old = [len(own) for own in stream.inputs]
    extend_topics(open_admin(stream.settings), [stream.settings.input_topic], 3)
    assert main(["history", "rescale"]) == 0
    assert "moved from 2 to 3 partitions" in capsys.readouterr().out
    assert main(["topics", "create"]) == 0
    grown = ScoredStream(stream.settings, stream.store, 3)
    grown.begin = lambda: fold(SPEC, build_batch(before))[1]
    with running(stream.settings):
        grown.produce(rows_of(150, 2, 60))
        total = len(before) + sum(map(len, grown.inputs))
        wait_until(lambda: len(grown.read_scores()) == total, 120, what=f"{total} scores")
    scores = grown.read_scores()
    for partition, rows in enumerate(grown.inputs):
        first = old[partition] if partition < 2 else 0
        version = scores[partition, first][0]
        expected = grown.expected(version, rows)
        assert len(rows) > 20
        found = [scores[partition, first + i][1] for i in range(len(rows))]
        assert found == expected.tolist()
