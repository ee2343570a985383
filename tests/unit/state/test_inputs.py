"""Which inputs histories are made of, and what is reported of those that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.contracts import NUMBER_COLUMNS, TEXT_COLUMNS
from schemas.framing import Headers
from schemas.layout import Layout
from schemas.rejections import Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.dead_letters.repeats import REDRIVEN_STAGE, find_first_copies
from stream_scorer.kafka.driver import Message
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.spans import Span
from stream_scorer.kafka.unreadable import PassedBatch
from stream_scorer.settings import GroupSettings
from stream_scorer.state import inputs
from stream_scorer.state.inputs import (
    RAISE,
    AcceptedInputs,
    InputFaults,
    InputMissing,
    InputRows,
    refused_inputs,
)
from tests.support.audit.forged_topics import Sent, as_message, as_records
from tests.support.factories import make_batch
from tests.support.state.kit import NotedFaults

FIRST = 1200
VALUE = encode_transactions(make_batch(1))[0]
STAGE = REDRIVEN_STAGE


def records(n: int = 6, **changes: Sent) -> Records:
    """Records of valid transactions 1 to n, or what is given for ``at_3``, the fourth."""
    sent = [Sent(b"1", value) for value in encode_transactions(make_batch(n))]
    for name, changed in changes.items():
        sent[int(name.removeprefix("at_"))] = changed
    return as_records(3, [(FIRST + row, one) for row, one in enumerate(sent)])


def reader(faults: InputFaults = RAISE, **given: Sequence[int]) -> AcceptedInputs:
    refused = {3: np.array([FIRST + row for row in given.get("refused", ())], np.int64)}
    chosen = given.get("chosen")
    return AcceptedInputs(
        "in",
        TransactionDecoder(LocalSchemas()),
        refused,
        None,
        None if chosen is None else lambda p, offsets: np.isin(offsets - FIRST, chosen) & (p == 3),
        faults,
    )


def ids(rows: InputRows | None) -> list[int]:
    assert rows is not None
    assert len(rows) == len(rows.batch) == len(rows.advances)
    assert (rows.offsets == FIRST - 1 + rows.batch.ids).all()  # each has its own offset
    found: list[int] = rows.batch.ids.tolist()
    return found


def test_every_accepted_input_is_decoded_with_its_offset() -> None:
    rows = reader().read(3, records())
    assert rows is not None
    assert ids(rows) == [1, 2, 3, 4, 5, 6]
    assert (rows.partition, rows.next_offset) == (3, FIRST + 6)
    assert rows.advances.all()
    whole = make_batch(6)
    assert rows.batch.numbers.tobytes() == whole.numbers.tobytes()
    texts = range(len(TEXT_COLUMNS))
    assert all(
        rows.batch.string(row, at) == whole.string(row, at) for row in range(6) for at in texts
    )


def test_inputs_are_cut_at_offsets() -> None:
    rows = reader(refused=[2]).read(3, records())
    assert rows is not None
    whole = replace(rows, begin=FIRST)
    parts = list(whole.cut([FIRST + 4, FIRST - 5, FIRST, FIRST + 2, FIRST + 3, FIRST + 6]))
    assert [part.offsets.tolist() for part in parts] == [
        [FIRST, FIRST + 1],
        [FIRST + 3],
        [FIRST + 4, FIRST + 5],
    ]
    assert [(part.begin, part.next_offset) for part in parts] == [
        (FIRST, FIRST + 2),
        (FIRST + 2, FIRST + 4),  # the refused one is between them
        (FIRST + 4, FIRST + 6),
    ]
    assert [ids(part) for part in parts] == [[1, 2], [4], [5, 6]]
    assert list(whole.cut([])) == [whole]
    assert list(whole.cut([FIRST, FIRST + 6])) == [whole]


def test_refused_input_is_left_out_even_if_it_can_be_decoded_today() -> None:
    assert ids(reader(refused=[0, 3]).read(3, records())) == [2, 3, 5, 6]


def test_refused_input_of_another_partition_is_not_left_out() -> None:
    others = replace(reader(), refused={2: np.array([FIRST], np.int64)})
    assert ids(others.read(3, records())) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "bad", [Sent(b"1", b"garbage"), Sent(b"1", None), Sent(b"1", b'{"TransactionID": 1}')]
)
def test_refused_input_that_cannot_be_decoded_is_no_fault(bad: Sent) -> None:
    noted = NotedFaults()
    assert ids(reader(noted, refused=[2]).read(3, records(at_2=bad))) == [1, 2, 4, 5, 6]
    assert noted.seen == []


def test_accepted_input_that_cannot_be_decoded_is_named() -> None:
    with pytest.raises(InputMissing) as caught:
        reader().read(3, records(at_4=Sent(b"1", b'{"TransactionID": 7, "TransactionDT": 5}')))
    assert str(caught.value) == (
        f"in partition 3 offset {FIRST + 4} was scored, and this version cannot read it: "
        "TransactionAmt is missing. Use the release that scored it"
    )


def test_reading_continues_after_a_fault_that_does_not_raise() -> None:
    noted = NotedFaults()
    bad = records(at_1=Sent(b"1", b"x"), at_5=Sent(b"1", None))
    assert ids(reader(noted).read(3, bad)) == [1, 3, 4, 5]
    assert [(fault, topic, *place) for fault, topic, *place, _ in noted.seen] == [
        ("undecodable", "in", 3, FIRST + 1),
        ("undecodable", "in", 3, FIRST + 5),
    ]
    assert noted.seen[1][-1] == "the value is null (a tombstone)"


def test_nothing_is_returned_where_no_input_was_accepted() -> None:
    assert reader(refused=range(6)).read(3, records()) is None


def test_only_chosen_inputs_are_decoded() -> None:
    noted = NotedFaults()
    rows = reader(noted, chosen=[0, 5], refused=[5]).read(3, records(at_2=Sent(b"1", b"x")))
    assert ids(rows) == [1]
    assert noted.seen == []
    assert rows is not None
    assert rows.next_offset == FIRST + 6


def test_columns_of_the_layout_alone_are_kept() -> None:
    layout = Layout(["D1", "C1"])
    rows = replace(reader(), layout=layout).read(3, records())
    assert rows is not None
    assert rows.batch.layout == layout
    at = layout.columns.index("D1")
    expected = make_batch(6).numbers[:, NUMBER_COLUMNS.index("D1")]
    assert (rows.batch.numbers[:, at] == expected).all()


@pytest.mark.parametrize(
    ("headers", "advances"),
    [
        ((), True),
        ((("traceparent", b"00"),), True),
        (((STAGE, b"decode"),), True),
        (((STAGE, b"schema"),), True),
        (((STAGE, b"score"),), False),
        (((STAGE, b"publish"),), False),
        (((STAGE, b"publish"), (STAGE, b"decode")), True),
        (((STAGE, b"decode"), (STAGE, b"score")), False),
        (((STAGE, None),), True),
        (((STAGE, b"\xff"),), True),
    ],
)
def test_input_that_was_accepted_before_does_not_advance(
    headers: tuple[tuple[str, bytes | None], ...], advances: bool
) -> None:
    value = encode_transactions(make_batch(3))[2]
    rows = reader().read(3, records(at_2=Sent(b"1", value, headers)))
    assert ids(rows) == [1, 2, 3, 4, 5, 6]
    assert rows is not None
    assert rows.advances.tolist() == [True, True, advances, True, True, True]


def test_first_copies_are_found_in_a_batch() -> None:
    given: list[Headers] = [None, [(STAGE, "score")], []]
    assert find_first_copies(given).tolist() == [True, False, True]
    assert find_first_copies([]).tolist() == []


def test_inputs_are_refused_by_a_stage_before_scoring() -> None:
    stages = {9: Stage.FRAMING, 2: Stage.SCHEMA, 5: Stage.DECODE, 7: Stage.VALIDATE}
    accepted = {3: Stage.SCORE, 4: Stage.PUBLISH}
    found = refused_inputs({0: stages | accepted, 1: {}})
    assert found[0].tolist() == [2, 5, 7, 9]
    assert found[1].tolist() == []
    assert len(stages) + len(accepted) == len(Stage)


def test_unreadable_batch_is_known_if_each_of_its_records_has_a_dead_letter() -> None:
    accepted = reader(refused=[1, 2, 3])
    assert accepted.all_refused(3, PassedBatch(FIRST + 1, FIRST + 4, None, 0))
    assert not accepted.all_refused(3, PassedBatch(FIRST + 1, FIRST + 5, None, 0))
    assert not accepted.all_refused(0, PassedBatch(FIRST + 1, FIRST + 4, None, 0))


def test_faults_name_topic_partition_and_offset() -> None:
    with pytest.raises(InputMissing, match=r"in partition 2: .* from offset 5 .* begins at 9"):
        RAISE.removed("in", 2, 5, 9)
    with pytest.raises(InputMissing, match=r"in partition 2: .* offset 5 to before 9 .*unpacked"):
        RAISE.unreadable("in", 2, PassedBatch(5, 9, None, 0))


@pytest.mark.parametrize(
    ("refused", "is_reported"), [([2, 3, 4], False), ([2, 4], True), ([], True)]
)
def test_batch_that_cannot_be_unpacked_is_reported_within_the_span(
    monkeypatch: pytest.MonkeyPatch, refused: list[int], is_reported: bool
) -> None:
    def read_spans(*_: object, on_lost: Any, on_unreadable: Any) -> Iterator[list[Message]]:
        on_lost(3, FIRST + 1)
        yield [as_message(3, FIRST + 1, Sent(b"1", VALUE))]
        on_unreadable(3, PassedBatch(FIRST + 2, FIRST + 9, None, 0))

    monkeypatch.setattr(inputs, "read_spans", read_spans)
    noted, spans = NotedFaults(), {3: Span(FIRST, FIRST + 5)}
    known = {3: np.array(refused, np.int64) + FIRST}
    decoder = TransactionDecoder(LocalSchemas())
    (rows,) = inputs.read_inputs(
        GroupSettings(input_topic="in"), "reader", spans, decoder, known, faults=noted
    )
    assert rows.offsets.tolist() == [FIRST + 1]
    unread = ("unreadable", "in", 3, FIRST + 2, FIRST + 5)
    assert noted.seen == [
        ("removed", "in", 3, FIRST, FIRST + 1),
        *([unread] if is_reported else []),
    ]
