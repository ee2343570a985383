"""Where the scorers keep their counts of rejections beyond a process: a consumer group's metadata.

The group ``<KAFKA_GROUP_ID>-rejections`` has no members and reads nothing: the offsets committed
for it are always 0, and each partition's metadata text holds the tally of its last owner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from stream_scorer.errors import RetryableError
from stream_scorer.limits import Tally
from stream_scorer.patience import ask_committed, commit_now
from stream_scorer.runtime.kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
    open_consumer,
    translate,
)
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

GROUP_SUFFIX: Final = "-rejections"

_MARK: Final = "rejections:"
_QUERY_SECONDS: Final = 5.0
_FORBIDDEN: Final = (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class KafkaTallyLedger:
    """The ledger in Kafka. Connects when it is first used; one thread owns it."""

    def __init__(self, settings: KafkaSettings, group_id: str, topic: str) -> None:
        self._settings = settings
        self._group = group_id + GROUP_SUFFIX
        self._topic = topic
        self._consumer: Consumer | None = None
        self._is_forbidden = False

    def read(self, partitions: Iterable[int]) -> Mapping[int, Tally]:
        """The tallies that are there."""
        asked = [TopicPartition(self._topic, p) for p in sorted(partitions)]
        if not asked or self._is_forbidden:
            return {}
        try:
            found = ask_committed(self._open(), asked, _QUERY_SECONDS)
        except KafkaException as error:
            self._refused(error)
            return {}
        tallies = {part.partition: parse_tally(part.metadata) for part in found}
        return {p: tally for p, tally in tallies.items() if tally is not None}

    def write(self, partitions: Iterable[int], tally: Tally) -> None:
        """Replace the tallies."""
        text = format_tally(tally)
        offsets = [TopicPartition(self._topic, p, 0, text) for p in sorted(partitions)]
        if not offsets or self._is_forbidden:
            return
        try:
            commit_now(self._open(), offsets, _QUERY_SECONDS)
        except KafkaException as error:
            self._refused(error)

    def close(self) -> None:
        """Let go of the connection."""
        if self._consumer is not None:
            self._consumer.close()

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = open_consumer(self._settings, self._group)
        return self._consumer

    def _refused(self, error: KafkaException) -> None:
        """Without the right to the group we go on without it."""
        if error.args[0].code() in _FORBIDDEN:
            self._is_forbidden = True
            log.warning(
                "no right to the group %s: the counts of rejections end with the process (%s)",
                self._group,
                error.args[0].str(),
            )
            return
        raise RetryableError(str(translate(error))) from error


def format_tally(tally: Tally) -> str:
    """As metadata."""
    return f"{_MARK}{tally.run},{tally.seen},{tally.bad},{tally.allowance}"


def parse_tally(metadata: str | None) -> Tally | None:
    """From metadata; None where there is none of ours."""
    if not metadata or not metadata.startswith(_MARK):
        return None
    numbers = metadata.removeprefix(_MARK).split(",")
    if len(numbers) != 4 or not all(n.isascii() and n.isdecimal() for n in numbers):
        return None
    return Tally(*map(int, numbers))
