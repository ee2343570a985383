"""Where the scorers keep their counts of rejections beyond a process: a consumer group's metadata.

The group ``<KAFKA_GROUP_ID>-rejections`` has no members and reads nothing: the offsets committed
for it are always 0, and each partition's metadata text holds the tally of its last owner.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.limits import Tally
from stream_scorer.patience import ask_committed, patiently
from stream_scorer.runtime.kafka import (
    Admin,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
    answer,
    open_admin,
    open_consumer,
    translate,
)
from stream_scorer.runtime.kafka_rights import group_rights
from stream_scorer.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

GROUP_SUFFIX: Final = "-rejections"

_MARK: Final = "rejections:"
_QUERY_SECONDS: Final = 5.0
_ASK_SECONDS: Final = 3.0
_FORBIDDEN: Final = (KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class KafkaTallyLedger:
    """The ledger in Kafka. Connects when it is first used; one thread owns it."""

    def __init__(self, settings: KafkaSettings, group_id: str, topic: str) -> None:
        self._settings = settings
        self._group = group_id + GROUP_SUFFIX
        self._topic = topic
        self._consumer: Consumer | None = None
        self._admin: Admin | None = None
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
            patiently(lambda: self._commit(offsets, _QUERY_SECONDS), _QUERY_SECONDS)
        except KafkaException as error:
            self._refused(error)

    def serve(self) -> None:
        """Take what the client has to tell; call it now and then.

        An idle client piles up what it meets in an outage, some 100 MB an hour.
        """
        for client in (self._consumer, self._admin):
            if client is not None:
                try:
                    client.poll(0)
                except KafkaException as error:
                    log.debug("the ledger's client: %s", error)

    def close(self) -> None:
        """Let go of the connection."""
        if self._consumer is not None:
            self._consumer.close()

    def _open(self) -> Consumer:
        if self._consumer is None:
            self._consumer = open_consumer(self._settings, self._group)
        return self._consumer

    def _open_admin(self) -> Admin:
        if self._admin is None:
            self._admin = open_admin(self._settings)
        return self._admin

    def _commit(self, offsets: list[TopicPartition], seconds: float) -> None:
        """Replace the group's offsets as an admin does, within so many seconds.

        A consumer's own commit knows no limit: 46 s while nobody answers, and minutes, its close
        too, where the connection stays.
        """
        asked = ConsumerGroupTopicPartitions(self._group, offsets)
        futures = self._open_admin().alter_consumer_group_offsets([asked], request_timeout=seconds)
        for place in answer(futures[self._group], seconds).topic_partitions:
            if place.error:
                raise KafkaException(place.error)

    def _refused(self, error: KafkaException) -> None:
        """Without the right to the group we go on without it."""
        if error.args[0].code() not in _FORBIDDEN and not self._lacks_right():
            raise RetryableError(str(translate(error))) from error
        self._is_forbidden = True
        log.warning(
            "no right to the group %s: grant this user READ on it; until then the counts of "
            "rejections end with the process (%s)",
            self._group,
            error.args[0].str(),
        )

    def _lacks_right(self) -> bool:
        """Whether that is why: where the group's coordinator is denied us, the client times out.

        False where nobody answers, so that an outage is never taken for a missing right.
        """
        try:
            return "READ" not in group_rights(self._open_admin(), self._group, _ASK_SECONDS)
        except (FatalError, RetryableError):
            return False


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
