"""Records: what is saved, what a restored history goes on with, and what their check sum finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.features.history.partition import (
    PartitionHistory,
    records_sum,
    sort_records,
)
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from tests.support.features.history_streams import (
    SPECS,
    differing,
    every_kind,
    every_row,
    features,
    make_spec,
    make_stream,
    one_pass,
    passes_in,
    plain_space,
    same_records,
    some_rows,
)

Words = NDArray[np.uint64]


def records_of(spec: HistorySpec, rows: int = 300, seed: int = 3) -> PartitionRecords:
    return one_pass(spec, make_stream(rows, seed))[1].records()


@pytest.mark.parametrize("name", list(SPECS))
@pytest.mark.parametrize("at", [0, 1, 333, 999])
def test_restored_history_goes_on_as_if_nothing_had_happened(name: str, at: int) -> None:
    spec, batch, advances = SPECS[name](), make_stream(1_000, 5, seconds=2_000), some_rows(1_000)
    whole, expected = one_pass(spec, batch, advances)
    first, out = PartitionHistory(spec), np.full_like(whole, 7.0)
    first.settle(first.step(batch, np.arange(at), advances, out))
    second = PartitionHistory.restore(spec, first.records())
    assert second.check_sum() == first.check_sum()
    assert second.clock == first.clock
    assert second.sizes().keys == first.sizes().keys
    for rows in passes_in((90, 1), len(batch) - at):
        second.settle(second.step(batch, rows + at, advances, out))
    assert differing(spec, out, whole) == {}
    assert second.check_sum() == expected.check_sum()
    assert same_records(second.records(), expected.records())


def test_records_are_those_before_the_open_steps() -> None:
    spec, batch = every_kind(), make_stream(900, 6, seconds=3_000)
    history, out = PartitionHistory(spec), np.empty((900, len(spec.names)))
    runs = passes_in((300,), 900)
    history.settle(history.step(batch, runs[0], every_row(900), out))
    before, check_sum = history.records(), history.check_sum()
    for rows in runs[1:]:
        history.step(batch, rows, every_row(900), out)
        assert same_records(history.records(), before)
        assert records_sum(spec, history.copy()) == check_sum
    assert history.check_sum() != check_sum
    assert history.find(1001)["card"].tolist() != before.spaces["card"].tolist()


def test_records_are_sorted_by_signed_card_and_hash() -> None:
    words = records_of(every_kind(), 500).spaces["mail"]
    cards = words[:, 0].view(np.int64).tolist()
    assert cards[0] == -7
    assert cards == sorted(cards)
    keys = [(card, int(rest)) for card, rest in zip(cards, words[:, 1], strict=True)]
    assert keys == sorted(keys)


def test_the_order_of_the_records_does_not_matter() -> None:
    spec = every_kind()
    records = records_of(spec)
    mixed = PartitionRecords(
        records.clock, {name: words[::-1] for name, words in records.spaces.items()}
    )
    history = PartitionHistory.restore(spec, mixed)
    assert history.check_sum() == records_sum(spec, records)
    assert same_records(history.records(), records)
    assert same_records(sort_records(mixed), records)


def altered(records: PartitionRecords, name: str, change: Callable[[Words], None]) -> int:
    """The check sum after a change of one space's records."""
    spaces = {n: words.copy() for n, words in records.spaces.items()}
    change(spaces[name])
    return records_sum(every_kind(), PartitionRecords(records.clock, spaces))


def test_check_sum_changes_with_every_bit_of_a_record() -> None:
    spec = every_kind()
    records = records_of(spec, 60)
    seen = {records_sum(spec, records)}
    n = 1
    for space in spec.spaces:
        for word in range(space.width):
            for bit in range(64):

                def flip(words: Words, word: int = word, bit: int = bit) -> None:
                    words[2, word] ^= np.uint64(1 << bit)

                seen.add(altered(records, space.name, flip))
                n += 1
    assert len(seen) == n


@pytest.mark.parametrize("bit", [0, 31, 34, 62, 63])
def test_check_sum_changes_when_the_same_bit_of_two_words_does(bit: int) -> None:
    """Sign bits above all: a weak hash lets two of them cancel out."""
    spec = every_kind()
    records = records_of(spec, 60)
    before = records_sum(spec, records)
    for first in range(spec.spaces[0].width):
        for second in range(first):

            def flip(words: Words, first: int = first, second: int = second) -> None:
                words[1, [first, second]] ^= np.uint64(1 << bit)

            assert altered(records, "client", flip) != before


@pytest.mark.parametrize("bit", [0, 31, 34, 62, 63])
def test_check_sum_changes_when_the_same_bit_of_two_records_does(bit: int) -> None:
    spec = every_kind()
    records = records_of(spec, 200)
    before = records_sum(spec, records)
    for space in spec.spaces:
        for word in range(space.width):
            for other in range(1, 9):

                def flip(words: Words, word: int = word, other: int = other) -> None:
                    words[[0, other], word] ^= np.uint64(1 << bit)

                assert altered(records, space.name, flip) != before


def test_check_sum_changes_when_a_record_is_lost_doubled_or_mixed_with_another() -> None:
    spec = every_kind()
    records = records_of(spec)
    words = records.spaces["client"]

    def sum_with(changed: Words) -> int:
        spaces = {**records.spaces, "client": changed}
        return records_sum(spec, PartitionRecords(records.clock, spaces))

    mixed = words.copy()
    mixed[[0, 1], 8:] = mixed[[1, 0], 8:]
    sums = [sum_with(w) for w in (words, words[1:], np.vstack([words, words[:1]]), mixed)]
    assert len(set(sums)) == 4


def test_check_sum_changes_when_two_spaces_are_swapped_and_with_the_clock() -> None:
    listed = (features("count"), features("mean", "C1"))
    spec = make_spec(plain_space("a", ("card1",), *listed), plain_space("b", ("card1",), *listed))
    records = one_pass(spec, make_stream(200), every_row(200))[1].records()
    a, b = records.spaces["a"], records.spaces["b"]
    assert np.array_equal(a, b)
    b = b.copy()
    b[0, 5] += np.uint64(1)
    both, swapped = ({"a": a, "b": b}, {"a": b, "b": a})
    assert records_sum(spec, PartitionRecords(5, both)) != records_sum(
        spec, PartitionRecords(5, swapped)
    )
    clocks = {records_sum(spec, PartitionRecords(clock, both)) for clock in (-1, 0, 1, 2**32 - 1)}
    assert len(clocks) == 4


def with_word(records: PartitionRecords, word: int, value: int) -> PartitionRecords:
    words = records.spaces["mail"].copy()
    words[3, word] = value
    return PartitionRecords(records.clock, {**records.spaces, "mail": words})


REFUSED: dict[str, tuple[Callable[[PartitionRecords], PartitionRecords], str]] = {
    "another space": (
        lambda r: r._replace(spaces={"x" + name: w for name, w in r.spaces.items()}),
        "other key spaces",
    ),
    "another order": (
        lambda r: r._replace(spaces=dict(reversed(r.spaces.items()))),
        "other key spaces",
    ),
    "a space too few": (
        lambda r: r._replace(spaces={n: w for n, w in r.spaces.items() if n != "card"}),
        "other key spaces",
    ),
    "a word too few": (
        lambda r: r._replace(spaces={**r.spaces, "mail": r.spaces["mail"][:, 1:]}),
        "records of mail do not have 13 words",
    ),
    "one dimension": (
        lambda r: r._replace(spaces={**r.spaces, "mail": r.spaces["mail"].ravel()}),
        "records of mail do not have 13 words",
    ),
    "another type": (
        lambda r: r._replace(spaces={**r.spaces, "mail": r.spaces["mail"].view(np.int64)}),
        "records of mail do not have 13 words",
    ),
    "a key twice": (
        lambda r: r._replace(
            spaces={**r.spaces, "mail": np.vstack([r.spaces["mail"], r.spaces["mail"][4:5]])}
        ),
        "two records of mail have the same key",
    ),
    "a dead record": (lambda r: with_word(r, 2, 0), "a record of mail has no transaction"),
    "a first time": (lambda r: with_word(r, 3, 2**32), "a record of mail has .* no such time"),
    "a last time": (lambda r: with_word(r, 4, 2**63), "a record of mail has .* no such time"),
    "a clock": (lambda r: r._replace(clock=2**32), "the clock of the records is 4294967296"),
    "a negative clock": (lambda r: r._replace(clock=-2), "the clock of the records is -2"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_records_of_something_else_are_refused(what: str) -> None:
    change, said = REFUSED[what]
    records = records_of(every_kind())
    PartitionHistory.restore(every_kind(), records)  # valid until they are changed
    with pytest.raises(ValueError, match=said):
        PartitionHistory.restore(every_kind(), change(records))


def test_records_that_anyone_may_have_written_are_memory_safe() -> None:
    """Their check sum is wrong, but whoever skips it reads and writes only its own records."""
    spec, batch = every_kind(), make_stream(300, 3)
    records = records_of(spec)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        spaces = {}
        for name, words in records.spaces.items():
            changed = rng.integers(0, 2**64, words.shape, np.uint64)
            changed[:, :2] = words[:, :2]
            changed[:, 3:5] %= 2**32
            spaces[name] = changed
        history = PartitionHistory.restore(spec, PartitionRecords(records.clock, spaces))
        out = np.empty((300, len(spec.names)))
        before = history.check_sum()
        undo = history.step(batch, np.arange(300), every_row(300), out)
        assert not np.isinf(out).any()
        history.rollback(undo)
        assert history.check_sum() == before
