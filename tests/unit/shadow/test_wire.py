"""What the challenger's process gets is what the scorer has, and its answers come back."""

from __future__ import annotations

import marshal
import socket
from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.layout import Layout
from stream_scorer.model.bundle import Bundle
from stream_scorer.shadow.figures import count
from stream_scorer.shadow.models import Scored
from stream_scorer.shadow.scoring import ShadowBatch, preprocessor_of, select
from stream_scorer.shadow.wire import (
    Channel,
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


def arrived(
    polled: Polled, part: ScoredPart, traits: Traits, segment: Segment
) -> tuple[Polled, ScoredPart]:
    """What the other side sees."""
    ours, theirs = socket.socketpair()
    here, there = Channel(ours), Channel(theirs)
    there.send({"scored": []})
    packed = pack(polled, marshal.dumps(KEYS), part, traits, segment.size)
    assert here.hand_over(packed, segment) == {"scored": []}
    message = there.receive()
    here.close()
    there.close()
    return unpack(message, segment.bytes)


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment(4_000_000)
    yield made
    made.close()


def part_of(champion: Bundle, share: float = 1.0) -> tuple[Polled, ScoredPart]:
    """What is selected of a batch, one record of which cannot be read."""
    values = make_values(ROWS)
    values[3] = b"hello"
    headers = [[("trace", b"\xff"), ("empty", None)] if i % 7 == 0 else None for i in range(ROWS)]
    polled = make_polled(values, KEYS, headers)
    pipeline = make_pipeline()
    pipeline.keep_basis_if(lambda: True)
    basis = pipeline.process(polled, champion, NOW_MS).basis
    assert basis is not None
    (part,) = select(
        ShadowBatch.of(polled, basis, with_records=True), share, preprocessor_of(champion)
    )
    return polled, part


def traits_of(part: ScoredPart) -> Traits:
    layout = part.batch.layout
    return Traits("v2", None, None, None if layout is None else layout.columns)


def assert_same_batch(found: TransactionBatch, given: TransactionBatch) -> None:
    for field in fields(given):
        one, other = getattr(found, field.name), getattr(given, field.name)
        if isinstance(other, np.ndarray):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert one.tobytes() == other.tobytes()
        elif not isinstance(other, HistoryColumns):
            assert one == other


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_columns_keys_and_places_arrive_bit_for_bit(segment: Segment, share: float) -> None:
    polled, part = part_of(make_bundle(), share)
    history = HistoryColumns("spec", np.arange(2.0 * len(part.where)).reshape(-1, 2))
    part = part._replace(batch=part.batch.with_history(history))
    there, found = arrived(polled, part, traits_of(part), segment)
    assert_same_batch(found.batch, part.batch)
    assert found.batch.history is not None
    assert found.batch.history.fingerprint == "spec"
    assert found.batch.history.values.tolist() == history.values.tolist()
    assert part.matrix is not None
    assert found.matrix is not None
    assert found.matrix.tobytes() == part.matrix.tobytes()
    assert found.scores.tolist() == part.scores.tolist()
    assert found.decisions.tolist() == part.decisions.tolist()
    rows = part.where.tolist()
    assert len(rows) == ROWS - 1 if share == 1 else 5 < len(rows) < ROWS - 5
    assert found.where.tolist() == list(range(len(rows)))
    assert there.topic == polled.topic
    assert there.keys == [KEYS[row] for row in rows]
    assert there.partitions.tolist() == polled.partitions[part.where].tolist()
    assert there.offsets.tolist() == polled.offsets[part.where].tolist()


def test_records_are_sent_only_where_the_challenger_reads_other_columns(segment: Segment) -> None:
    polled, part = part_of(make_bundle())
    part = part._replace(batch=replace(part.batch, layout=Layout(["V2"])), matrix=None)
    there, _ = arrived(polled, part, traits_of(part), segment)
    assert there.values == [None] * (ROWS - 1)
    other = traits_of(part)._replace(columns=("V1",))
    there, _ = arrived(polled, part, other, segment)
    assert there.values == [polled.values[row] for row in part.where.tolist()]
    assert there.headers == [polled.headers[row] for row in part.where.tolist()]


def test_batch_that_does_not_fit_is_refused() -> None:
    polled, part = part_of(make_bundle())
    with pytest.raises(TooLarge, match="bytes"):
        pack(polled, b"", part, traits_of(part), 10_000)


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
    polled, part = part_of(make_bundle())
    packed = pack(polled, b"", part, Traits("v2", None, None, None), 4_000_000)
    small = Segment(4_000_000)
    with pytest.raises(OSError, match="has ended"):
        channel.hand_over(packed, small)
    small.close()
    channel.end()  # a second time does no harm
    channel.close()
