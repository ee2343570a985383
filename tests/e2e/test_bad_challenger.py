"""A challenger that raises, wants 2 GiB, is slow and hangs, beside a scorer on real Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.kafka.clients import open_admin
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from tests.conftest import MakeTopics
from tests.support.factories import make_draft, make_transactions, publish
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.processes import ScorerUnderTest, fleet
from tests.support.records import produce, read_all
from tests.support.waiting import wait_until

ROWS = 40
PARTITIONS = 2
GIB = 1024**3
PROGRAM = ("-m", "tests.support.shadow.scorer_with_bad_challenger")


@pytest.mark.timeout(900)
def test_scores_and_offsets_are_those_of_a_scorer_without_a_challenger(
    kafka: KafkaUnderTest, topics: MakeTopics, group_id: str, tmp_path: Path
) -> None:
    beside = topics(PARTITIONS)
    alone = topics(PARTITIONS).model_copy(update={"input_topic": beside.input_topic})
    store = FileStore(tmp_path / "store")
    publish(store)
    store.publish(*build_files(make_draft(seed=2)))
    store.challenge("v2", store.challenger())
    values: list[bytes | None] = list(encode_transactions(build_batch(make_transactions(ROWS))))
    values[7] = b"hello"
    rounds = 0

    def more(scorer: ScorerUnderTest) -> None:
        """One more round: the challenger sees a batch only after the scorer has committed it."""
        nonlocal rounds
        rounds += 1
        produce(kafka.settings, beside.input_topic, values, PARTITIONS)
        wait_until(lambda: scorer.sample().outcomes == rounds * ROWS, what="outcomes")

    def until(scorer: ScorerUnderTest, name: str, least: float) -> float:
        """More rounds, until a counter of the challenger is above this."""

        def found() -> bool:
            more(scorer)
            return _count(scorer, name) > least

        wait_until(found, 300, what=name)
        return _count(scorer, name)

    later = tmp_path / "later"
    environment = {
        "SHADOW_SPARE_CPU_ONLY": "false",
        "BAD_CHALLENGER": "raise,memory,slow,hang",
        "LATER": str(later),
    }
    with (
        fleet(kafka.settings, beside, group_id, tmp_path / "beside", **environment) as bad,
        fleet(kafka.settings, alone, f"{group_id}-alone", tmp_path / "alone") as good,
    ):
        for scorers in (bad, good):
            scorers.folder.mkdir()
            scorers.environment["MODEL_STORE_URI"] = (tmp_path / "store").as_uri()
        bad.program = PROGRAM
        scorer, other = bad.start(), good.start(SHADOW_SHARE="0")
        scorer.wait_ready()
        wait_until(lambda: 'shadow_version{version="v2"} 1.0' in scorer.metrics(), what="v2")
        until(scorer, "rows_total", 0)  # it raised, wanted 2 GiB, and was slow
        assert _count(scorer, "errors_total") >= 2
        left_out = _count(scorer, 'shed_total{reason="queue"}')
        until(scorer, 'shed_total{reason="queue"}', left_out)  # it hangs, and its queue is full
        later.touch()
        wait_until(lambda: _count(scorer, "disabled") == 1, what="the challenger to be given up")
        assert _count(scorer, "refusals_total") == 0
        assert _peak(scorer) < GIB // 2
        assert _children(scorer) == []  # it was ended
        said = scorer.log.read_text()
        assert "the challenger cannot score a batch: ZeroDivisionError: no such leaf" in said
        assert "the challenger hung for 30 s and is given up" in said
        more(scorer)  # the scorer goes on
        wait_until(lambda: other.sample().outcomes == rounds * ROWS, what="the other's outcomes")
        assert scorer.terminate() == 0
        assert other.terminate() == 0
    for topic in ("output_topic", "dlq_topic"):
        records = [_comparable(kafka, getattr(names, topic)) for names in (beside, alone)]
        assert records[0] == records[1]
        assert len(records[0]) == rounds * (1 if topic == "dlq_topic" else ROWS - 1)
    offsets = [
        _offsets(kafka, group, beside.input_topic) for group in (group_id, f"{group_id}-alone")
    ]
    assert offsets == [[rounds * ROWS // PARTITIONS] * PARTITIONS] * 2


def _count(scorer: ScorerUnderTest, name: str) -> float:
    lines = scorer.metrics().splitlines()
    start = f"fraud_scorer_shadow_{name} "
    return sum(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def _comparable(kafka: KafkaUnderTest, topic: str) -> list[tuple[Any, ...]]:
    """Records in order, without the time at which they were scored."""
    found = []
    for seen in sorted(read_all(kafka.settings, topic), key=lambda s: (s.partition, s.offset)):
        value: Any = seen.value
        if "model-version" in seen.headers:
            value = decode_record("fraud_score", seen.value)
            del value["scored_at"]
        found.append((seen.partition, seen.key, repr(value), seen.headers))
    return found


def _offsets(kafka: KafkaUnderTest, group: str, topic: str) -> list[int]:
    wanted = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
    asked = ConsumerGroupTopicPartitions(group, wanted)
    admin = open_admin(kafka.settings)  # it has to stay until it has answered
    (answer,) = admin.list_consumer_group_offsets([asked]).values()
    return [place.offset for place in answer.result(30).topic_partitions]


def _peak(scorer: ScorerUnderTest) -> int:
    status = Path(f"/proc/{scorer.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _children(scorer: ScorerUnderTest) -> list[str]:
    pid = scorer.process.pid
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split() + [
        child
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
