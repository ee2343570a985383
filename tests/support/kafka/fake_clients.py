"""Fakes of the driver's clients, for situations that real Kafka rarely produces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stream_scorer.kafka.driver import KafkaError, KafkaException, TopicPartition


@dataclass
class Record:
    of: int
    at: int
    size: int = 10

    def __len__(self) -> int:
        return self.size

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def partition(self) -> int:
        return self.of

    def offset(self) -> int:
        return self.at

    def value(self) -> bytes:
        return b"%d" % self.at

    def key(self) -> bytes:
        return b"key"

    def headers(self) -> None:
        return None

    def topic(self) -> str:
        return "t"

    def error(self) -> KafkaError | None:
        return None


@dataclass
class Failed(Record):
    """An error that names a partition and the offset that was fetched."""

    code: int = KafkaError._BAD_COMPRESSION

    def error(self) -> KafkaError | None:
        return KafkaError(self.code)


class Group:
    """A consumer of partitions 0 and 1; ``events`` happen during its next poll."""

    def __init__(self) -> None:
        self.members: list[str] = []
        self.committed: Callable[..., list[TopicPartition]] = lambda places, _: places
        self.events: list[Callable[[], None]] = []
        self.sought: list[TopicPartition] = []
        self.paused: set[int] = set()
        self.next = 0
        self.waiting: list[Record] | None = None
        self.taken: list[int] = []
        self.take_away: Callable[[], None] = lambda: None
        self.give_back: Callable[[], None] = lambda: None

    def subscribe(self, _: Any, *, on_assign: Any, on_lost: Any, **_more: Any) -> None:
        both = [TopicPartition("t", 0), TopicPartition("t", 1)]
        self.events.append(lambda: on_assign(self, both))
        self.take_away = lambda: on_lost(self, both[1:])
        self.give_back = lambda: on_assign(self, both[1:])

    def poll(self, _: float) -> Record:
        events, self.events = self.events, []
        for event in events:
            event()
        self.next += 1
        return Record(0, self.next - 1)

    def consume(self, wanted: int, _: float) -> list[Record]:
        self.taken.append(wanted)
        if self.waiting is None:
            return [Record(1, self.next - 1)]
        taken, self.waiting = self.waiting[:wanted], self.waiting[wanted:]
        return taken

    def memberid(self) -> str:
        return self.members.pop(0) if self.members else "member"

    def consumer_group_metadata(self) -> bytes:
        return b"metadata"

    def seek(self, place: TopicPartition) -> None:
        self.sought.append(place)

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        """What the client does itself after a callback that does not."""

    def pause(self, places: list[TopicPartition]) -> None:
        self.paused |= {place.partition for place in places}

    def resume(self, places: list[TopicPartition]) -> None:
        self.paused -= {place.partition for place in places}


class Sink:
    """A transactional producer."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.marks: set[str | None] = set()

    def poll(self, _: float) -> int:
        return 0

    def flush(self, _: float) -> int:
        return 0

    def send_offsets_to_transaction(self, offsets: list[TopicPartition], *_: Any) -> None:
        self.sent += [place.offset for place in offsets]
        self.marks |= {place.metadata for place in offsets}

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_: None


class RestartingGroup(Group):
    """A consumer whose partition 1 can stop; it refuses what librdkafka 2.16 refuses.

    Attributes:
        first: what the next polls return.
        during_consume: what happens during the next ``consume``.
        stopped: partitions that are assigned and not fetched.
        restarted: partitions that were assigned again, with the offset.
    """

    def __init__(self) -> None:
        super().__init__()
        self.owned = {0, 1}
        self.stopped: set[int] = set()
        self.restarted: list[tuple[int, int]] = []
        self.during_consume: list[Callable[[], None]] = []
        self.first: list[Record] = []

    def poll(self, _: float) -> Any:
        """Serve the events, then return the next record, if any."""
        events, self.events = self.events, []
        for event in events:
            event()
        return self.first.pop(0) if self.first else None

    def consume(self, wanted: int, _: float) -> list[Record]:
        """Serve the events, then return what is waiting."""
        events, self.during_consume = self.during_consume, []
        for event in events:
            event()
        waiting = self.waiting or []
        taken, self.waiting = waiting[:wanted], waiting[wanted:]
        return taken

    def lose(self) -> None:
        """A rebalance revokes partition 1."""
        self.owned.discard(1)
        self.take_away()

    def regain(self) -> None:
        """A rebalance assigns partition 1."""
        self.owned.add(1)
        self.give_back()

    def seek(self, place: TopicPartition) -> None:
        """Seek, unless the partition is not fetched."""
        if place.partition in self.stopped:
            raise KafkaException(KafkaError(KafkaError._STATE))
        super().seek(place)

    def incremental_unassign(self, places: list[TopicPartition]) -> None:
        """Take partitions out of the assignment."""
        for place in places:
            if place.partition not in self.owned:
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG))
            self.owned.discard(place.partition)

    def incremental_assign(self, places: list[TopicPartition]) -> None:
        """Fetch partitions from the given offsets; without one, from the committed offset."""
        for place in places:
            self.owned.add(place.partition)
            if place.offset >= 0:
                self.stopped.discard(place.partition)
                self.restarted.append((place.partition, place.offset))
