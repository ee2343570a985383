"""Card history on real Kafka: inputs, scores, and whether these are what one plain pass gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.batch import build_batch
from schemas.records import decode_record
from schemas.transactions.codec import encode_transactions
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.kafka.clients import open_consumer, open_producer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.settings import ScorerSettings
from tests.support.kafka.murmur2 import murmur2_partition
from tests.support.records import read_all
from tests.support.state.history_kit import DAY, advance, make_card_rows
from tests.support.state.published import SPEC
from tests.support.waiting import wait_until

Rows = list[dict[str, Any]]
Scores = dict[tuple[int, int], tuple[str, float]]
"""Version and score by partition and offset of the input."""


def rows_of(n: int, seed: int, days: float) -> Rows:
    """Transactions of thirty cards in the time after ``days``."""
    rows = [row for row in make_card_rows(n, seed, cards=30) if "card1" in row]
    for number, row in enumerate(rows):
        row["TransactionID"] = 10_000 * seed + number
        row["TransactionDT"] += round(days * DAY)
    return rows


@dataclass
class ScoredStream:
    """Topics, a store, and the inputs of each partition."""

    settings: ScorerSettings
    store: FileStore
    partitions: int
    begin: Callable[[], PartitionHistory] = lambda: PartitionHistory(SPEC)
    """The history that each partition begins with."""
    inputs: list[Rows] = field(init=False)

    def __post_init__(self) -> None:
        self.histories = open_history_store(self.settings)
        self.inputs = [[] for _ in range(self.partitions)]
        self._seed = 100

    def produce(self, rows: Rows) -> None:
        """Send transactions, keyed by their card."""
        producer = open_producer(self.settings)
        for row, value in zip(rows, encode_transactions(build_batch(rows)), strict=True):
            key = str(int(row["card1"])).encode()
            producer.produce(self.settings.input_topic, value, key)
            self.inputs[murmur2_partition(key, len(self.inputs))].append(row)
        assert producer.flush(60) == 0

    def read_scores(self) -> Scores:
        """All scores so far."""
        found: Scores = {}
        for record in read_all(self.settings, self.settings.output_topic):
            plain = decode_record("fraud_score", record.value)
            place = plain["source"]["partition"], plain["source"]["offset"]
            assert place not in found, f"{place} has two scores"
            found[place] = plain["model_version"], plain["score"]
        return found

    def wait_for_scores(self) -> Scores:
        """Wait until every input has a score."""
        total = sum(map(len, self.inputs))
        wait_until(lambda: len(self.read_scores()) == total, 120, what=f"{total} scores")
        return self.read_scores()

    def promote(self, version: str) -> None:
        """Promote a version, and produce until it scores every partition."""
        self.store.promote(version, self.store.current())

        def scores_everywhere() -> bool:
            self._seed += 1
            self.produce(rows_of(30, self._seed, self._seed))
            found = self.wait_for_scores()
            last = {p: found[p, len(own) - 1][0] for p, own in enumerate(self.inputs)}
            return set(last.values()) == {version}

        wait_until(scores_everywhere, 120, what=f"scores of {version} in every partition")

    def check_scores(self) -> Counter[str]:
        """Compare every score with one pass over its partition; how many each version gave.

        Every input counts in the histories, whichever version has scored it.
        """
        scores, versions = self.wait_for_scores(), Counter[str]()
        for partition, rows in enumerate(self.inputs):
            expected: dict[str, NDArray[np.float64]] = {}
            for offset in range(len(rows)):
                version, found = scores[partition, offset]
                if version not in expected:
                    expected[version] = self.expected(version, rows)
                assert found == expected[version][offset], (partition, offset, version)
                versions[version] += 1
        return versions

    def committed(self) -> dict[int, TopicPartition]:
        """The group's offsets with their marks."""
        consumer = open_consumer(self.settings, self.settings.kafka_group_id)
        topic = self.settings.input_topic
        places = [TopicPartition(topic, p) for p in range(len(self.inputs))]
        found = {place.partition: place for place in consumer.committed(places, 10)}
        consumer.close()
        return found

    def commit(self, place: TopicPartition) -> None:
        """Set an offset with its mark; the group has no members."""
        consumer = open_consumer(self.settings, self.settings.kafka_group_id)
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()

    def expected(self, version: str, rows: Rows) -> NDArray[np.float64]:
        """The scores of a partition's inputs by a version, in one pass."""
        bundle = load_bundle(self.store.fetch(version), version)
        batch = build_batch(rows)
        if bundle.features.program.history is not None:
            batch = batch.with_history(advance(self.begin(), batch))
        return score(batch, bundle).scores
