"""Asks the broker regularly whether it answers, and whether the topics are still the same ones.

A client reports none of this. While no broker answers it retries in silence, and after a topic was
deleted and recreated it goes on at its old position, so that the records before it are never read.
The watch has its own thread and connection.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import FatalError, ScorerError
from stream_scorer.kafka.admin import TopicSummary, describe_topics
from stream_scorer.kafka.clients import Admin, open_admin
from stream_scorer.runtime.settings import KafkaSettings
from stream_scorer.stream.offset_check import FROM_START, recreated_text

log = logging.getLogger(__name__)

_INTERVAL_SECONDS: Final = 3.0
"""Also limits how many records of a recreated input topic can be scored at the old position."""

_REQUEST_SECONDS: Final = 5.0
_STOP_SECONDS: Final = 1.0

_DELETED: Final = (
    "topic %s was deleted and recreated (its id was %s and is now %s): the outcomes that it held "
    "are gone. Scoring continues, because stopping would not bring them back. stream-scorer verify "
    "reports the inputs that have no outcome now"
)

_EXTENDED: Final = (
    "topic %s has %d partitions now (%d before). The new ones are read from their first record on. "
    "Keys move to other partitions, so the order of a card's records is not kept across this moment"
)


@dataclass(frozen=True, slots=True)
class Change:
    """A topic that differs from how it was."""

    topic: str
    before: TopicSummary
    now: TopicSummary

    @property
    def is_recreated(self) -> bool:
        """Whether it is another topic of the same name."""
        return None not in (self.before.topic_id, self.now.topic_id) and (
            self.before.topic_id != self.now.topic_id
        )

    @property
    def is_extended(self) -> bool:
        """Whether it is the same topic with more partitions."""
        return not self.is_recreated and self.now.partitions > self.before.partitions


def find_changes(
    before: Mapping[str, TopicSummary], now: Mapping[str, TopicSummary]
) -> list[Change]:
    """The topics that exist and differ from how they were."""
    return [Change(t, before[t], now[t]) for t in before if t in now and before[t] != now[t]]


def find_problem(names: Sequence[str], now: Mapping[str, TopicSummary]) -> str | None:
    """Why outcomes cannot be written now; the input topic is the first of ``names``."""
    if missing := [name for name in names if name not in now]:
        return (
            f"topic {', '.join(missing)} does not exist any more: nothing is scored until it does "
            "(create it with: stream-scorer topics create)"
        )
    counts = {name: now[name].partitions for name in names}
    if short := [name for name in names if counts[name] < counts[names[0]]]:
        return (
            f"topic {short[0]} has {counts[short[0]]} partitions, but {names[0]} has "
            f"{counts[names[0]]}: an outcome is written to the same partition number as its input, "
            "so inputs of the new partitions wait (add the missing partitions with: stream-scorer "
            "topics create)"
        )
    return None


class TopicWatch:
    """Compares the topics with how they were at the start, and reports what is wrong now.

    Args:
        settings: how to connect to the broker.
        names: input, output and dead letter topic.
        found: their summaries when the process started.
        report: receives what is wrong now, or None; called in the watch's thread.
        fetch: the topics that exist now, for tests; None: ask the broker.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        names: Sequence[str],
        found: Mapping[str, TopicSummary],
        report: Callable[[str | None], None],
        fetch: Callable[[], Mapping[str, TopicSummary]] | None = None,
    ) -> None:
        self._settings = settings
        self._names = names
        self._known = dict(found)
        self._report = report
        self._fetch = fetch
        self._admin: Admin | None = None
        self._logged: str | None = None
        self._fatal: FatalError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="topics", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, without waiting long for a request in progress."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def raise_fatal(self) -> None:
        """Raise what must end the process; call this in the thread that can end it.

        Raises:
            FatalError: the input topic was recreated.
        """
        if self._fatal is not None:
            raise self._fatal

    def check(self) -> None:
        """Check once."""
        try:
            now = self._fetch() if self._fetch is not None else self._describe()
        except ScorerError as error:
            self._admin = None  # it may be the client that gets no answer any more
            self._say(f"no Kafka broker answers; the scorer waits and retries: {error}")
            return
        for change in find_changes(self._known, now):
            self._changed(change)
        self._known |= now
        self._say(find_problem(self._names, now))

    def _describe(self) -> Mapping[str, TopicSummary]:
        self._admin = self._admin or open_admin(self._settings)
        return describe_topics(self._admin, self._names, _REQUEST_SECONDS)

    def _changed(self, change: Change) -> None:
        topic, before, now = change.topic, change.before, change.now
        if change.is_recreated and topic == self._names[0]:
            text = recreated_text(topic, str(before.topic_id), now.topic_id, "this process")
            self._fatal = FatalError(f"{text}. {FROM_START}")
        elif change.is_recreated:
            log.error(_DELETED, topic, before.topic_id, now.topic_id)
        elif change.is_extended:
            log.warning(_EXTENDED, topic, now.partitions, before.partitions)

    def _say(self, problem: str | None) -> None:
        """Report a problem, and log it once; the reason of a failed request varies."""
        self._report(problem)
        kind = problem and problem.partition(":")[0]
        if kind != self._logged:
            if problem is not None:
                log.error("%s", problem)
            else:
                log.info("Kafka and the topics can be used again")
            self._logged = kind

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_SECONDS):
            try:
                self.check()
            except Exception:
                log.exception("the check of the topics failed and will be repeated")
