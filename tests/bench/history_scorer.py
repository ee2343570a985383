"""The card histories of a scorer in a benchmark, with the product's own restores and snapshots."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from schemas.batch import TransactionBatch
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.admin import describe_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from stream_scorer.settings import GroupSettings
from stream_scorer.state.eras import Eras, InputFacts
from stream_scorer.state.histories import CardHistories
from stream_scorer.state.input_log import KafkaInputLog
from stream_scorer.state.restorer import Restorer
from stream_scorer.state.snapshots import SnapshotPolicy, SnapshotWriter
from stream_scorer.stream.kafka_broker import KafkaBroker

if TYPE_CHECKING:
    from stream_scorer.stream.ports import Histories

_QUERY_SECONDS: Final = 10.0
_MAX_KEYS: Final = 1_000_000


class _OneModel:
    """One bundle that is never rejected."""

    def __init__(self, bundle: Bundle) -> None:
        self.current: Bundle | None = bundle

    def is_withdrawn(self, version: str) -> bool:
        """It never is."""
        del version
        return False


def add_history(batch: TransactionBatch, spec: HistorySpec | None) -> TransactionBatch:
    """Rows in the order of time with the features of their cards' past."""
    if spec is None:
        return batch
    rows = np.arange(len(batch))
    columns, _ = PartitionHistory(spec).columns(batch, rows, np.ones(len(batch), np.bool_))
    return batch.with_history(columns)


def open_histories(
    settings: KafkaSettings, topics: TopicSettings, group: str, broker: KafkaBroker, bundle: Bundle
) -> tuple[Histories, Callable[[], None]]:
    """The histories of a member that begins without a past, and what stops their threads."""
    given = settings.model_dump() | topics.model_dump() | {"kafka_group_id": group}
    of_group = GroupSettings(**given)
    summary = describe_topics(open_admin(settings), [topics.input_topic], _QUERY_SECONDS)
    found = summary[topics.input_topic]
    facts = InputFacts(topics.input_topic, found.topic_id or "", found.partitions)
    store = HistoryStore(MemoryObjects(), is_trusted=True)

    def open_log() -> KafkaInputLog:
        return KafkaInputLog(of_group, TransactionDecoder(LocalSchemas()))

    eras = Eras(store, facts, _MAX_KEYS, now=lambda: datetime.now(UTC))
    restorer = Restorer(store, eras, open_log)
    snapshots = SnapshotWriter(store, open_log, SnapshotPolicy(), "bench")
    restorer.start()
    snapshots.start()

    def stop() -> None:
        restorer.stop()
        snapshots.stop()

    histories = CardHistories(broker, _OneModel(bundle), restorer, snapshots)
    return cast("Histories", histories), stop
