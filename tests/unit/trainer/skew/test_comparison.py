"""History features of a file and of the topic: each difference has its cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from schemas.batch import build_batch
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HistorySpec, read_space
from tests.support.training.history_kit import joined_rows, make_spec
from trainer.history.rows import follow
from trainer.skew.comparison import Comparison, compare
from trainer.skew.sides import Side, Start, digest, side_of

Row = dict[str, Any]

FEATURES = [
    {"kind": "count", "group": "g"},
    {"kind": "gap", "group": "g"},
    {"kind": "mean", "group": "g", "columns": ["C1"]},
    {"kind": "is_new", "group": "g", "columns": ["P_emaildomain"]},
]
SPEC = HistorySpec(
    tuple(
        read_space({"version": 1, "ttl_days": 90, "ring": 0, "features": FEATURES} | space)
        for space in (
            {"space": "client", "key": ["card1", "addr1"], "start_day": "D1"},
            {"space": "mail", "key": ["card1", "P_emaildomain"]},
        )
    )
)


def row(number: int, minutes: int, **values: Any) -> Row:
    return {
        "TransactionID": number, "TransactionDT": 86_400 + 60 * minutes, "TransactionAmt": 10.0,
        "card1": 7.0, "addr1": 1.0, "D1": 0.0, "C1": float(number), "P_emaildomain": "a.com",
    } | values  # fmt: skip


ROWS = [
    row(1, 0), row(2, 5), row(3, 5, card1=8.0), row(4, 9, P_emaildomain="b.com"),
    row(5, 20, addr1=None), row(6, 30), row(7, 40, card1=8.0), row(8, 50),
]  # fmt: skip


def side(
    name: str,
    rows: Sequence[Row],
    advances: Sequence[bool] | None = None,
    partitions: Sequence[int] | None = None,
    start: Start | None = None,
) -> Side:
    start = start or Start()
    batch = build_batch(rows)
    moves = np.array([True] * len(rows) if advances is None else advances)
    parts = np.array([0] * len(rows) if partitions is None else partitions, np.int64)
    place = lambda i: f"{name[4]}{i}"  # noqa: E731
    return side_of(name, batch, moves, parts, SPEC, start, place)


def compared(topic: Sequence[Row], limit: int = 20, **given: Any) -> Comparison:
    return compare(SPEC, side("the file", ROWS), side("the topic", topic, **given), Start(), limit)


def without(*numbers: int) -> list[Row]:
    return [one for one in ROWS if one["TransactionID"] not in numbers]


def changed(number: int, **values: Any) -> list[Row]:
    return [one | values if one["TransactionID"] == number else one for one in ROWS]


def test_equal_inputs_have_no_difference_whatever_the_partitions() -> None:
    found = compared(ROWS, partitions=[0, 0, 1, 0, 0, 0, 1, 0])
    assert found == Comparison(8, 8, 8, 0, 0, 0, ())
    # The order of transactions of different cards does not matter.
    other = compared([ROWS[i] for i in (2, 6, 0, 1, 3, 4, 5, 7)])
    assert other.differing == 0


CAUSES: dict[str, tuple[Callable[[], Comparison], int, str]] = {
    "missing in the topic": (
        lambda: compared(without(2)),
        4,
        "missing earlier row: the earlier transaction 2 (f1) is in the file and not in the topic",
    ),
    "missing in the file": (
        lambda: compared([ROWS[0], row(99, 2), *ROWS[1:]]),
        2,
        "missing earlier row: the earlier transaction 99 (t1) is in the topic and not in the file",
    ),
    "another order": (
        lambda: compared([ROWS[i] for i in (1, 0, 2, 3, 4, 5, 6, 7)]),
        1,
        (
            "other order: the earlier transaction 2 (t0) is in the topic before it, and later in "
            "the file (f1)"
        ),
    ),
    "another order among the earlier": (
        lambda: compared([ROWS[i] for i in (0, 2, 3, 5, 1, 4, 6, 7)]),
        2,
        (
            "other order: the earlier transaction 4 (t2) is in the topic before it, and later in "
            "the file (f3)"
        ),
    ),
    "its own value": (
        lambda: compared(changed(4, P_emaildomain="a.com")),
        4,
        "other value: P_emaildomain is 'b.com' in the file and 'a.com' in the topic",
    ),
    "its own time": (
        lambda: compared(changed(4, TransactionDT=86_400 + 60 * 8)),
        4,
        "other value: TransactionDT is 86940 in the file and 86880 in the topic",
    ),
    "an earlier value": (
        lambda: compared(changed(1, C1=50.0)),
        2,
        "other value: of the earlier transaction 1, C1 is 1.0 in the file and 50.0 in the topic",
    ),
    "an earlier key": (
        lambda: compared(changed(1, addr1=9.0)),
        2,
        (
            "other value: the earlier transaction 1 (f0) is in the file with another key, addr1 is "
            "1.0 in the file and 9.0 in the topic"
        ),
    ),
    "its own missing value": (
        lambda: compared(changed(1, D1=None)),
        1,
        "other value: D1 is 0.0 in the file and missing in the topic",
    ),
    "in another partition": (
        lambda: compared(ROWS, partitions=[1, 0, 0, 0, 0, 0, 0, 0]),
        2,
        (
            "missing earlier row: the earlier transaction 1 (f0) is in the file, and in another "
            "partition of the topic (t0): its producer does not key by card1 with murmur2"
        ),
    ),
    "does not advance": (
        lambda: compared(ROWS, advances=[True, False, *[True] * 6]),
        4,
        (
            "missing earlier row: the earlier transaction 2 (f1) is in the file, and does not "
            "count in the topic"
        ),
    ),
    "repeated later": (
        lambda: compared([*ROWS[:4], ROWS[0], *ROWS[4:]]),
        5,
        "repeated row: transaction 1 is more than once in the topic",
    ),
}


@pytest.mark.parametrize("what", list(CAUSES))
def test_first_difference_is_explained(what: str) -> None:
    make, transaction, why = CAUSES[what]
    found = make()
    assert found.differing >= 1
    first = found.differences[0]
    assert (first.transaction, first.why) == (transaction, why)
    assert first.feature in SPEC.names
    assert first.text == SPEC.texts[first.feature]
    assert first.file_value != first.topic_value


def test_difference_names_the_first_feature_and_both_values() -> None:
    (first, *_) = compared(without(2)).differences
    assert (first.file, first.topic) == ("f3", "t2")
    assert (first.feature, first.file_value, first.topic_value) == ("client_count", 2.0, 1.0)


def test_value_that_is_missing_on_one_side_is_none() -> None:
    (first, *_) = compared(changed(2, card1=None)).differences
    assert first.transaction == 2
    assert (first.file_value, first.topic_value) == (1.0, None)
    assert first.why == "other value: card1 is 7.0 in the file and missing in the topic"


def test_direct_repeats_are_no_difference() -> None:
    """A producer's retry does not advance the history, in the stream as here."""
    found = compared([*ROWS[:2], ROWS[1], ROWS[1], *ROWS[2:]])
    assert (found.differing, found.in_topic, found.only_in_topic) == (0, 8, 0)


def test_redriven_transaction_is_compared_by_its_first_copy() -> None:
    """The first copy advanced when it failed; the second gets features only."""
    topic = [*ROWS, ROWS[0]]
    assert compared(topic, advances=[*[True] * 8, False]).differing == 0
    # Its features come from a later state, so the copy that advances is the one to compare.
    assert compared([ROWS[7], *ROWS], advances=[False, *[True] * 8]).differing == 0


def test_counts_and_the_limit_of_explanations() -> None:
    found = compared([*without(2, 3), row(77, 60)], limit=1)
    assert (found.in_file, found.in_topic, found.compared) == (8, 7, 6)
    assert (found.only_in_file, found.only_in_topic) == (2, 1)
    assert found.differing > 1
    assert len(found.differences) == 1
    assert found.facts()["differences"][0]["transaction"] == 4


def test_both_sides_begin_with_the_same_histories() -> None:
    history = PartitionHistory(SPEC)
    follow(history, build_batch([row(500, -60, D1=-1.0), row(501, -50, card1=8.0)]), lambda _: None)
    start = Start(history.records(), as_of=int(ROWS[0]["TransactionDT"]))
    file = side("the file", ROWS, start=start)
    # The first transaction is in the seed, so that its absence in the topic changes nothing.
    equal = compare(SPEC, file, side("the topic", without(1), start=start), start, 20)
    assert (equal.differing, equal.only_in_file) == (0, 1)
    found = compare(SPEC, file, side("the topic", without(1, 2), start=start), start, 20)
    assert found.differences[0].file_value == 2.0  # with the transaction of the seed
    assert found.differences[0].why.startswith("missing earlier row: the earlier transaction 2 ")


def test_difference_that_the_card_alone_does_not_show_is_not_given_a_feature() -> None:
    limited = PartitionHistory(SPEC, max_keys=2)
    batch = build_batch([one | {"card1": 7.0 + i % 4} for i, one in enumerate(ROWS * 4)])
    ids = np.arange(len(batch))
    batch.ids[:] = ids
    out = follow(limited, batch, lambda _: None)
    whole = follow(PartitionHistory(SPEC), batch, lambda _: None)
    assert not np.array_equal(out, whole, equal_nan=True)

    def of(name: str, values: Any) -> Side:
        ones = np.ones(len(batch), np.bool_)
        return Side(name, batch, ones, np.zeros(len(batch), np.int64), digest(values), str)

    found = compare(SPEC, of("the file", whole), of("the topic", out), Start(), 3)
    assert found.differing > 0
    assert found.differences[0].feature is None
    assert found.differences[0].why.startswith("the transactions of its card alone give no")


def test_digest_differs_in_every_bit_and_place() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (1, 91))
    base = int(digest(values)[0])
    seen = {base}
    for column in range(91):
        for bit in (0, 17, 51, 63):
            bits = values.copy().view(np.uint64)
            bits[0, column] ^= np.uint64(1) << np.uint64(bit)
            seen.add(int(digest(bits.view(np.float64))[0]))
    assert len(seen) == 1 + 91 * 4
    assert len({int(v) for v in digest(rng.normal(0, 1, (5000, 3)))}) == 5000
    swapped = values[:, [1, 0, *range(2, 91)]]
    assert int(digest(swapped)[0]) != base


def test_generated_rows_that_lose_one_transaction_differ_where_its_card_comes_back() -> None:
    spec = make_spec()
    batch = joined_rows(1500).batch
    out = follow(PartitionHistory(spec), batch, lambda _: None)
    known = out[:, spec.names.index("client_count")] > 0
    later = int(np.flatnonzero(known)[-1])

    def of(name: str, rows: Any) -> Side:
        some = batch.take(rows)
        values = follow(PartitionHistory(spec), some, lambda _: None)
        ones = np.ones(len(some), np.bool_)
        parts = np.zeros(len(some), np.int64)
        return Side(name, some, ones, parts, digest(values), lambda i: f"row {i}")

    everything = np.arange(len(batch))
    whole = of("the file", everything)
    lost = whole.of_card(later)[-2]
    found = compare(spec, whole, of("the topic", everything[everything != lost]), Start(), 10**6)
    assert found.only_in_file == 1
    assert found.differing == len(found.differences) >= 1
    ids = {difference.transaction for difference in found.differences}
    card = set(batch.ids[whole.numbers("card1") == whole.numbers("card1")[lost]].tolist())
    assert ids <= card
    assert all(f"transaction {batch.ids[lost]} " in d.why for d in found.differences)
