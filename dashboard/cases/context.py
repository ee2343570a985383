"""What all actions at the desk share: caches, outbox, threads and clock."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from dashboard.cases.case import Case, DeskUnavailable, NotFound
from dashboard.cases.desk_table import DeskWriter
from dashboard.cases.events import Event
from dashboard.cases.flags import Flags
from dashboard.cases.log import Channel, DeskLog, NewRecord
from dashboard.cases.outbox import Entry, Outbox, OutboxFull, event_entry
from dashboard.cases.reading import DeskReader, ReadingState
from dashboard.cases.rules import Hold
from dashboard.cases.sending import Sender
from dashboard.cases.state import NOTHING, DeskCache, Pending, build_case
from schemas.resolver import SchemaResolver

APPEND_SECONDS: Final = 1.2
READ_SECONDS: Final = 0.7
"""An action waits this long for the broker, and then this long to read its own record."""


class Context:
    """The shared parts of one desk."""

    def __init__(
        self,
        desk_log: DeskLog,
        folder: Path,
        flags: Flags,
        resolvers: Mapping[Channel, SchemaResolver],
        input_topic: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.log = desk_log
        self.flags = flags
        self.input_topic = input_topic
        self._clock = clock
        self.outbox = Outbox(folder / "outbox.sqlite3")
        writer = DeskWriter(folder / "desk.sqlite3")
        self.cache = DeskCache(writer.path)
        self.reader = DeskReader(desk_log, writer, self.outbox, resolvers, input_topic, clock)
        self.sender = Sender(desk_log, self.outbox, self.reader, self.cache)
        self.lock = threading.RLock()
        """Held while an action checks a case and stores what it decided."""
        self.local: dict[str, Hold] = {}
        """Claims that could not be written to the log."""
        self.counts: Counter[str] = Counter()

    def now(self) -> int:
        """Epoch milliseconds."""
        return int(self._clock() * 1000)

    def find(self, flag_id: str) -> dict[str, Any]:
        """The JSON object of a flag.

        Raises:
            NotFound: there is no such flag.
        """
        flag = self.flags.find(flag_id)
        if flag is None:
            raise NotFound(f"flagged transaction {flag_id[:80]!r} not found")
        return flag

    def case(self, flag: Mapping[str, Any]) -> Case:
        """The case of a flag."""
        return self._build({flag["id"]: flag["transaction_id"]})[flag["id"]]

    def cases(self, flag_ids: Iterable[str]) -> dict[str, Case]:
        """The cases of flags, with all that is known now."""
        ids = list(flag_ids)
        known = self.flags.transaction_ids(ids)
        return self._build({one: known.get(one) for one in ids})

    def waiting(self, flag_ids: Sequence[str]) -> dict[str, Pending]:
        """What waits in the outbox about cases, without what is on the topics already.

        Read it before the cache: an entry leaves the outbox after its record is in the cache.
        """
        found = self.outbox.of_flags(flag_ids)
        ids = {
            channel: [e.id for entries in found.values() for e in entries if e.channel is channel]
            for channel in Channel
        }
        recorded = set[str]()
        if found:
            recorded = self.cache.recorded(ids[Channel.LABELS], ids[Channel.AUDIT])
        left = {
            flag_id: [entry for entry in entries if entry.id not in recorded]
            for flag_id, entries in found.items()
        }
        return {
            flag_id: Pending(
                [entry.as_event() for entry in entries if entry.channel is Channel.AUDIT],
                [entry.body for entry in entries if entry.channel is Channel.LABELS],
            )
            for flag_id, entries in left.items()
        }

    def _build(self, transaction_ids: Mapping[str, int | None]) -> dict[str, Case]:
        now, waiting = self.now(), self.waiting(list(transaction_ids))
        states = self.cache.states(transaction_ids)
        return {
            flag_id: build_case(
                state, waiting.get(flag_id, NOTHING), now, local=self.local.get(flag_id)
            )
            for flag_id, state in states.items()
        }

    def can_write(self, channel: Channel) -> bool:
        """Whether a topic exists and the last contact with its brokers was good."""
        status = self.reader.status
        is_connected = status.state in (ReadingState.LIVE, ReadingState.REBUILDING)
        return is_connected and channel not in status.problems

    def append_event(self, event: Event) -> bool:
        """Write an event and read it back. False if that did not succeed in time."""
        if not self.can_write(Channel.AUDIT):
            return False
        record = NewRecord(Channel.AUDIT, event.key, event.as_record())
        (place,) = self.log.append([record], APPEND_SECONDS)
        return place is not None and self.reader.wait_for_place(Channel.AUDIT, place, READ_SECONDS)

    def write_event(self, event: Event) -> None:
        """Write an event now or, if that fails, with the outbox."""
        if not self.append_event(event):
            self.queue_event(event)

    def store(self, entries: Sequence[Entry]) -> None:
        """Put entries into the outbox.

        Raises:
            DeskUnavailable: the disk fails, or too many entries wait. It says why, and the way out.
        """
        try:
            self.outbox.add(entries)
        except OutboxFull as full:
            name, problems = self.log.name_of(full.channel), self.reader.status.problems
            cause = "cannot be written, because Kafka does not answer or refuses it"
            why = f"the topic {name} {problems.get(full.channel, cause)}"
            raise DeskUnavailable(
                f"{full}: {why}. Nothing more is accepted until they are recorded"
            ) from None

    def queue_event(self, event: Event) -> None:
        """Write an event with the outbox.

        Raises:
            DeskUnavailable: it cannot be stored.
        """
        self.store([event_entry(event)])
        if event.flag_id is not None:
            self.reader.note_change([event.flag_id])
        self.sender.wake()
