"""The topics of the desk: the same tests on Kafka and on its in-memory fake."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from dashboard.cases.case import Who
from dashboard.cases.events import make_event
from dashboard.cases.kafka_log import KafkaLog
from dashboard.cases.log import Channel, DeskLog, LogBounds, LogReader, LogRecord, NewRecord, Place
from schemas.records import decode_record
from stream_scorer.errors import RetryableError
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin
from stream_scorer.process.topics import wanted_topics
from stream_scorer.runtime.settings import TopicSettings
from stream_scorer.settings import GroupSettings
from tests.support.desk.desk_kit import MemoryLog
from tests.support.kafka.kafka_under_test import KafkaUnderTest
from tests.support.names import random_topics
from tests.support.waiting import wait_until

SECONDS = 30.0


@dataclass
class Setup:
    """A log of one kind, and how to create its topics."""

    log: DeskLog
    topics: TopicSettings | None
    settings: GroupSettings | None

    def create(self, *channels: Channel) -> None:
        if isinstance(self.log, MemoryLog):
            self.log.exist |= set(channels)
            return
        assert self.topics is not None
        assert self.settings is not None
        wanted, names = wanted_topics(self.topics), [self.log.name_of(one) for one in channels]
        create_topics(open_admin(self.settings), {name: wanted[name] for name in names}, 3, -1)


@pytest.fixture(params=["memory", "kafka"])
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    if request.param == "memory":
        memory = MemoryLog()
        memory.exist = set()
        yield Setup(memory, None, None)
        return
    kafka: KafkaUnderTest = request.getfixturevalue("kafka")
    topics = random_topics()
    settings = GroupSettings(**kafka.settings.model_dump(), **topics.model_dump())
    log = KafkaLog(settings)
    yield Setup(log, topics, settings)
    log.close()


def event(number: int, key: str = "0-1") -> NewRecord:
    made = make_event("claim", Who("ana"), 1, event_id=f"e{number}", flag_id=key)
    return NewRecord(Channel.AUDIT, made.key, made.as_record(), [("decision-id", b"x")])


def bounds_of(reader: LogReader) -> LogBounds:
    """The bounds, once the partitions of a new topic have their leaders."""

    def fetch() -> LogBounds | None:
        try:
            return reader.fetch_bounds()
        except RetryableError:
            return None

    return wait_until(fetch, SECONDS, what="the leaders of a new topic")


def read(reader: LogReader, count: int) -> list[LogRecord]:
    found, deadline = list[LogRecord](), time.monotonic() + SECONDS
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} records arrived"
        found += reader.poll(0.2).records
    return found


def test_topics_that_do_not_exist_are_named_and_the_others_are_read(setup: Setup) -> None:
    setup.create(Channel.AUDIT)
    reader = setup.log.open_reader()
    bounds = bounds_of(reader)
    assert set(bounds.problems) == {Channel.LABELS}
    assert "stream-scorer topics create" in bounds.problems[Channel.LABELS]
    assert set(bounds.bounds) == {(Channel.AUDIT, partition) for partition in range(3)}
    assert set(bounds.bounds.values()) == {(0, 0)}
    setup.create(Channel.LABELS)
    later = bounds_of(reader)
    assert later.problems == {}
    assert later.cluster == bounds.cluster != ""
    reader.close()


def test_records_of_one_key_are_read_in_the_order_of_their_places(setup: Setup) -> None:
    setup.create(*Channel)
    before = int(time.time() * 1000) - 1000
    places = setup.log.append([event(number) for number in range(5)], SECONDS)
    assert setup.log.problem is None
    (partition,) = {place.partition for place in places if place}
    assert places == [Place(partition, offset) for offset in range(5)]
    reader = setup.log.open_reader()
    bounds = bounds_of(reader).bounds
    assert bounds[Channel.AUDIT, partition] == (0, 5)
    reader.assign({place: low for place, (low, _) in bounds.items()})
    found = read(reader, 5)
    assert [record.place for record in found] == places
    ids = [decode_record("audit_event", r.value)["event_id"] for r in found]
    assert ids == [f"e{number}" for number in range(5)]
    assert all(before <= record.time <= time.time() * 1000 + 1000 for record in found)
    assert dict(found[0].headers or ()) == {"decision-id": b"x"}
    setup.log.append([event(5)], SECONDS)
    assert [record.place for record in read(reader, 1)] == [Place(partition, 5)]
    reader.close()


def test_reader_continues_at_an_offset_and_reports_the_ends(setup: Setup) -> None:
    setup.create(*Channel)
    places = setup.log.append([event(number) for number in range(4)], SECONDS)
    partition = places[0].partition if places[0] else -1
    reader = setup.log.open_reader()
    starts = dict.fromkeys(bounds_of(reader).bounds, 0)
    reader.assign(starts | {(Channel.AUDIT, partition): 2})
    records, ends = list[LogRecord](), dict[tuple[Channel, int], int]()
    deadline = time.monotonic() + SECONDS
    while len(ends) < 6 or len(records) < 2:
        assert time.monotonic() < deadline, f"{records}, {ends}"
        batch = reader.poll(0.2)
        records += batch.records
        ends |= batch.ends
    assert [record.place.offset for record in records] == [2, 3]
    assert ends == starts | {(Channel.AUDIT, partition): 4}
    reader.close()
