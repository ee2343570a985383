"""Opens the card histories that the settings ask for, and closes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dashboard.history.kafka_log import KafkaStreamLog
from dashboard.history.keeper import FollowOptions, StoredHistories
from dashboard.history.past import Histories, NoHistories
from dashboard.model_status import ModelSource
from dashboard.settings import DashboardSettings
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.runtime.registry import using_resolver


@contextmanager
def opened_histories(settings: DashboardSettings, model: ModelSource) -> Iterator[Histories]:
    """The histories of ``PREDICT_HISTORY``, kept loaded until the end of the block.

    Raises:
        SettingsError: a setting of the store is invalid.
    """
    if settings.predict_history == "none":
        yield NoHistories(model)
        return
    with using_resolver(settings) as resolver:
        follow = FollowOptions(
            lambda: KafkaStreamLog(settings, TransactionDecoder(resolver)), settings.input_topic
        )
        histories = StoredHistories(
            model,
            open_history_store(settings),
            settings.predict_history_max_bytes,
            follow if settings.predict_history == "follow" else None,
        )
        histories.start()
        try:
            yield histories
        finally:
            histories.stop()
