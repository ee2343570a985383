"""What the challenger's process gets is what the scorer has, and its answers come back."""

from __future__ import annotations

import json
import socket
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.framing import SCHEMA_ID_HEADER
from schemas.layout import Layout
from stream_scorer.model.bundle import Bundle
from stream_scorer.shadow.channel import Channel, framed
from stream_scorer.shadow.exchange import ANSWER_MAX_BYTES, ENDED, FAILED, IDLE, exchange
from stream_scorer.shadow.figures import count
from stream_scorer.shadow.models import Scored
from stream_scorer.shadow.scoring import ShadowBatch, choose_rows, select
from stream_scorer.shadow.slots import SLOTS, Slots
from stream_scorer.shadow.wire import (
    Packed,
    Segment,
    TooLarge,
    Traits,
    pack,
    read_scored,
    scored_message,
    unpack,
)
from stream_scorer.stream.outcome import ScoredPart
from stream_scorer.stream.ports import Polled
from tests.support.factories import make_bundle
from tests.support.scoring_kit import NOW_MS, make_pipeline, make_polled, make_values

ROWS = 40
KEYS: list[bytes | None] = [None, b"", *[b"card %d" % i for i in range(ROWS - 2)]]
ANSWER: dict[str, list[object]] = {"scored": []}
Rows = NDArray[np.int64] | None


class Line:
    """Slots, and both ends of the connection to another process."""

    def __init__(self, segment: Segment) -> None:
        self.slots, self._segment = Slots(), segment
        ours, theirs = socket.socketpair()
        self.here, self.there = Channel(ours), Channel(theirs)
        self.tokens, self._taken = socket.socketpair()
        self.answers, self.ends = np.zeros(3 * ANSWER_MAX_BYTES, np.uint8), np.zeros(2, np.int64)

    def hand_over(self, packed: Packed | None) -> None:
        """Fill a slot, and say so."""
        self.tokens.send(bytes([self.slots.fill(packed)]))

    def exchange(self, waits: tuple[int, int, int] = (0, 0, 1000)) -> tuple[int, int]:
        """Hand over what was filled."""
        return exchange(
            self._taken.fileno(), self.here.make_blocking(), self._segment.bytes,
            self.slots.jobs, self.slots.pieces, self.slots.messages, self.answers, self.ends,
            self.slots.counters, np.array(waits),
        )  # fmt: skip

    def close(self) -> None:
        """Close everything."""
        for one in (self.here, self.there, self.tokens, self._taken):
            one.close()


@pytest.fixture
def line(segment: Segment) -> Iterator[Line]:
    made = Line(segment)
    yield made
    made.close()


def arrived(
    line: Line, polled: Polled, part: ScoredPart, rows: Rows, traits: Traits, segment: Segment
) -> tuple[Polled, ScoredPart]:
    """What the other side sees."""
    line.there.send(ANSWER)
    line.hand_over(pack(polled, part, rows, traits, segment.size))
    assert line.exchange() == (IDLE, 1)
    assert line.answers[4 : line.ends[0]].tobytes() == json.dumps(ANSWER).encode()
    return unpack(line.there.receive(), segment.bytes)


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment(4_000_000)
    yield made
    made.close()


def part_of(
    champion: Bundle, share: float = 1.0, header: str = "trace"
) -> tuple[Polled, ScoredPart, Rows, ScoredPart]:
    """A batch, one record of which cannot be read; the chosen rows; and what is to arrive."""
    values = make_values(ROWS)
    values[3] = b"hello"
    headers = [[(header, b"\xff"), ("empty", None)] if i % 7 == 0 else None for i in range(ROWS)]
    polled = make_polled(values, KEYS, headers)
    pipeline = make_pipeline()
    pipeline.keep_basis_if(lambda: True)
    basis = pipeline.process(polled, champion, NOW_MS).basis
    assert basis is not None
    job = ShadowBatch(polled, basis)
    ((part, rows),), (expected,) = list(choose_rows(job, share)), select(job, share)
    return polled, part, rows, expected


def traits_of(part: ScoredPart) -> Traits:
    layout = part.batch.layout
    return Traits("v2", None, None if layout is None else layout.columns)


def assert_same_batch(found: TransactionBatch, given: TransactionBatch) -> None:
    """The columns are equal bit for bit; of the text, the strings are."""
    for name in ("ids", "times", "event_times", "numbers", "lengths"):
        one, other = getattr(found, name), getattr(given, name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one.tobytes() == other.tobytes()
    cells = [(row, column) for row in range(len(given)) for column in range(given.starts.shape[1])]
    assert [found.string(*cell) for cell in cells] == [given.string(*cell) for cell in cells]
    assert found.layout == given.layout
    assert len(found.text) < len(given.text)  # without the records


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_columns_keys_and_places_arrive_bit_for_bit(
    line: Line, segment: Segment, share: float
) -> None:
    polled, part, rows, expected = part_of(make_bundle(), share)
    values = np.arange(2.0 * len(part.where)).reshape(-1, 2)
    part = part._replace(batch=part.batch.with_history(HistoryColumns("spec", values)))
    there, found = arrived(line, polled, part, rows, traits_of(part), segment)
    assert_same_batch(found.batch, expected.batch)
    assert found.batch.history is not None
    assert found.batch.history.fingerprint == "spec"
    chosen = values if rows is None else values[rows]
    assert found.batch.history.values.tolist() == chosen.tolist()
    assert found.scores.tolist() == expected.scores.tolist()
    assert found.decisions.tolist() == expected.decisions.tolist()
    where = expected.where.tolist()
    assert len(where) == ROWS - 1 if share == 1 else 5 < len(where) < ROWS - 5
    assert found.where.tolist() == list(range(len(where)))
    assert there.topic == polled.topic
    assert there.keys == [KEYS[row] for row in where]
    assert there.partitions.tolist() == polled.partitions[where].tolist()
    assert there.partitions.dtype == polled.partitions.dtype
    assert there.offsets.tolist() == polled.offsets[where].tolist()


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("header", ["trace", SCHEMA_ID_HEADER])
def test_records_are_sent_where_the_challenger_reads_other_columns(
    line: Line, segment: Segment, share: float, header: str
) -> None:
    polled, part, rows, expected = part_of(make_bundle(), share)
    polled = replace(
        polled, headers=[[(header, b"\xff")] if i % 7 == 0 else None for i in range(ROWS)]
    )
    layout = Layout(["V2"])
    part = part._replace(batch=replace(part.batch, layout=layout))
    other = traits_of(part)._replace(columns=("V1",))
    there, found = arrived(line, polled, part, rows, other, segment)
    spans, text = found.batch.records, found.batch.text.tobytes()
    assert spans is not None
    records = [text[b : b + n] for b, n in zip(spans.begin, spans.size, strict=True)]
    assert records == [polled.values[row] for row in expected.where]
    wanted = [polled.headers[row] if header == SCHEMA_ID_HEADER else None for row in expected.where]
    assert there.headers == wanted
    assert found.batch.layout == layout


def test_batch_that_does_not_fit_is_refused() -> None:
    polled, part, rows, _ = part_of(make_bundle())
    with pytest.raises(TooLarge, match="bytes"):
        pack(polled, part, rows, traits_of(part), 10_000)
    packed = pack(replace(polled, topic="t" * 70_000), part, rows, traits_of(part), 4_000_000)
    slots = Slots()
    with pytest.raises(TooLarge, match="a message of 7"):
        slots.fill(packed)
    assert (slots.filled, slots.waiting()) == (0, (0, 0))


def test_memory_is_let_go_once_it_was_copied_and_few_batches_wait(
    line: Line, segment: Segment
) -> None:
    polled, part, rows, _ = part_of(make_bundle())
    slots, seen = line.slots, []
    for _ in range(SLOTS):
        assert not slots.is_full
        packed = pack(polled, part, rows, traits_of(part), segment.size)
        seen.append(weakref.ref(packed.pieces[-1].array))
        line.hand_over(packed)
    size = packed.nbytes
    del packed
    assert slots.is_full
    assert slots.waiting() == (SLOTS, SLOTS * size)
    slots.release()
    assert all(one() is not None for one in seen)
    for _ in range(2):
        line.there.send(ANSWER)
    assert line.exchange() == (IDLE, 2)  # there is room for two answers
    slots.release()
    assert [one() is None for one in seen] == [True, True, False, False]
    assert (slots.answered, slots.is_full, slots.waiting()) == (2, False, (2, 2 * size))


def test_batch_with_nothing_to_send_has_an_empty_answer(line: Line) -> None:
    line.hand_over(None)
    assert line.exchange() == (IDLE, 1)
    assert (line.ends[0], line.slots.answered) == (0, 1)


def test_exchange_ends_with_the_other_side_and_with_this_one(line: Line, segment: Segment) -> None:
    polled, part, rows, _ = part_of(make_bundle())
    assert line.exchange() == (IDLE, 0)
    line.hand_over(pack(polled, part, rows, traits_of(part), segment.size))
    line.there.close()
    assert line.exchange() == (FAILED, 0)
    assert line.slots.answered == 0
    line.tokens.close()
    assert line.exchange() == (ENDED, 0)


@pytest.mark.parametrize(
    "sent", [b"\x00\x00", (ANSWER_MAX_BYTES + 1).to_bytes(4, "big"), framed(b"x" * 9)[:-1]]
)
def test_answer_that_is_too_long_or_cut_off_is_a_failure(
    line: Line, segment: Segment, sent: bytes
) -> None:
    polled, part, rows, _ = part_of(make_bundle())
    line.hand_over(pack(polled, part, rows, traits_of(part), segment.size))
    line.there._connection.sendall(sent)
    line.there._connection.shutdown(socket.SHUT_WR)
    assert line.exchange() == (FAILED, 0)


def test_what_was_scored_is_read_as_it_was_sent() -> None:
    scores = np.array([0.1, 0.9])
    figures = count(scores, np.array([0, 2], np.uint8), scores[::-1], np.array([2, 0], np.uint8))
    (found,) = read_scored(scored_message([Scored(figures, 0.25, 3, 4)]))
    assert found[1:] == (0.25, 3, 4)
    assert found.figures.moves.tolist() == figures.moves.tolist()
    assert found.figures.champion.tolist() == figures.champion.tolist()


def test_message_survives_a_timeout_in_its_middle_and_the_end_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    body = b'{"error": "no"}'
    theirs.sendall(len(body).to_bytes(4, "big") + body[:5])
    with pytest.raises(TimeoutError):
        channel.receive(0.01)
    theirs.sendall(body[5:] + (2).to_bytes(4, "big") + b"[]")
    assert channel.receive() == {"error": "no"}
    with pytest.raises(ValueError, match="no object"):
        channel.receive()
    theirs.close()
    with pytest.raises(EOFError):
        channel.receive()
    channel.end()  # a second time does no harm
    channel.close()
