"""The thread that writes the outbox to the topics of the desk.

It retries forever. An entry leaves the outbox when the reader has read its record, so a crash at
any moment loses nothing. To write nothing twice, it reads the topics to their end before it sends
what may have been written before: after a restart, and after a failed attempt. Another dashboard
may have the same decision, and both learn at the same moment that Kafka is back: so each waits
for a random time first. If both write it all the same, the first record in its partition counts
for every reader (:mod:`stream_scorer.labels.seen`).
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from typing import Any, Final

import orjson

from dashboard.cases.labels import ID_HEADER, KIND_HEADER, REASONS_HEADER
from dashboard.cases.log import Channel, DeskLog, NewRecord
from dashboard.cases.outbox import Entry, Outbox, Restored
from dashboard.cases.reading import DeskReader, ReadingState
from dashboard.cases.state import DeskCache

log = logging.getLogger(__name__)

_APPEND_SECONDS: Final = 1.5
_CATCH_UP_SECONDS: Final = 1.0
_FIRST_WAIT_SECONDS: Final = 0.2
_MAX_WAIT_SECONDS: Final = 5.0
_IDLE_SECONDS: Final = 1.0
_READ_BACK_SECONDS: Final = 0.02
_SPREAD_SECONDS: Final = 0.4  # between dashboards; some ten times what reading to the end takes
_ROUND: Final = 500  # entries per round

_LABEL_FIELDS: Final = (
    "transaction_id", "label", "decided_by", "decided_at", "note", "score", "review_threshold",
    "block_threshold", "model_version", "source",
)  # fmt: skip


class Sender:
    """Sends until it is stopped."""

    def __init__(
        self, desk_log: DeskLog, outbox: Outbox, reader: DeskReader, cache: DeskCache
    ) -> None:
        self._log = desk_log
        self._outbox = outbox
        self._reader = reader
        self._cache = cache
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="desk-sender", daemon=True)
        self._sent: set[str] = set()
        """Confirmed by the broker, and not yet read back."""
        self._is_unsure = True
        """Whether some entry may be on its topic already."""
        self._known: tuple[int, Restored | None] = (0, None)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Send now: there is a new entry."""
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Stop the thread. What was not sent stays in the outbox."""
        self._stop.set()
        self._wake.set()
        self._reader.note_change(())
        self._thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            self._wake.clear()
            try:
                is_done = self._send_round()
            except Exception:
                log.exception("sending the outbox failed; it will be retried")
                self._is_unsure = True
                is_done = False
            failures = 0 if is_done else failures + 1
            if failures:
                self._wait_after_failure(failures)
            else:
                self._wake.wait(_READ_BACK_SECONDS if self._sent else _IDLE_SECONDS)

    def _wait_after_failure(self, failures: int) -> None:
        """Wait longer after each failure, but not once the reader has reached Kafka again."""
        was_live = self._reader.status.state is ReadingState.LIVE
        seconds = min(_MAX_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** min(failures, 10))

        def is_over() -> bool:
            is_back = self._reader.status.state is ReadingState.LIVE and not was_live
            return is_back or self._stop.is_set()

        self._reader.wait_for(is_over, seconds)

    def _send_round(self) -> bool:
        """Send what can be sent. False if something failed."""
        known = self._reader.sessions, self._outbox.restored
        if known != self._known:
            # What was confirmed may be gone with its topic, so it must be read before it counts.
            # And an outbox that was made again may have what is on its topic already.
            self._known, self._is_unsure = known, True
            self._sent.clear()
        status = self._reader.status
        channels = [channel for channel in Channel if channel not in status.problems]
        waiting = self._outbox.oldest(channels, 0, _ROUND) if channels else []
        self._sent.intersection_update({entry.id for entry in waiting})
        if not waiting:
            self._is_unsure = False if channels == list(Channel) else self._is_unsure
            return True
        if status.state in (ReadingState.STARTING, ReadingState.WAITING):
            return False
        if self._is_unsure:
            self._stop.wait(random.uniform(0, _SPREAD_SECONDS))
            if not self._reader.catch_up(_CATCH_UP_SECONDS):
                return False
            waiting = self._drop_recorded(waiting)
            self._is_unsure = False
        chosen = self._choose(waiting)
        if not chosen:
            return True
        places = self._log.append([self._encode(entry) for entry in chosen], _APPEND_SECONDS)
        self._sent.update(e.id for e, place in zip(chosen, places, strict=True) if place)
        if None in places:
            self._is_unsure = True
            return False
        return True

    def _drop_recorded(self, waiting: Sequence[Entry]) -> list[Entry]:
        ids = {c: [e.id for e in waiting if e.channel is c] for c in Channel}
        recorded = self._cache.recorded(ids[Channel.LABELS], ids[Channel.AUDIT])
        for channel in Channel:
            self._outbox.remove(channel, recorded)
        return [entry for entry in waiting if entry.id not in recorded]

    def _choose(self, waiting: Sequence[Entry]) -> list[Entry]:
        """The oldest entry of each key. The next one follows once that was read back.

        So the records of one transaction keep their order, and each names the one it replaces.
        """
        chosen: dict[tuple[Channel, bytes], Entry] = {}
        for entry in waiting:
            chosen.setdefault((entry.channel, entry.key), entry)
        return [entry for entry in chosen.values() if entry.id not in self._sent]

    def _encode(self, entry: Entry) -> NewRecord:
        if entry.channel is Channel.AUDIT:
            return NewRecord(entry.channel, entry.key, entry.body)
        return NewRecord(entry.channel, entry.key, self._label(entry), _headers(entry))

    def _label(self, entry: Entry) -> dict[str, Any]:
        fields = {name: entry.body[name] for name in _LABEL_FIELDS}
        return {**fields, "origin": "ANALYST", "supersedes": self._superseded(entry)}

    def _superseded(self, entry: Entry) -> str | None:
        """The place of the decision that this one replaces: the one its author saw.

        Not the last one on the topic, which may have been made later, on another dashboard.
        """
        body, flag_id = entry.body, entry.flag_id or ""
        if (replaces := body.get("replaces")) is None:  # an entry of an earlier release
            before = self._cache.states({flag_id: body["transaction_id"]})[flag_id].decision
        elif replaces["id"] is not None:
            before = self._cache.decision(replaces["id"])
        else:
            return str(replaces["place"]) if replaces["place"] else None
        return None if before is None else str(before.place)


def _headers(entry: Entry) -> list[tuple[str, bytes]]:
    return [
        (ID_HEADER, entry.id.encode()),
        (KIND_HEADER, str(entry.body["kind"]).encode()),
        (REASONS_HEADER, orjson.dumps(entry.body["reasons"])),
    ]
