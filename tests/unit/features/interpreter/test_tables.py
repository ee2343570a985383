"""The hash tables: their keys spread, and keys that were chosen to collide are refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stream_scorer.features.interpreter.kernel import find_number, hash_bits
from stream_scorer.features.interpreter.tables import NumberTable, NumberTables, build_number_tables

ZERO = np.uint64(0)


def look_up(tables: NumberTables, table: int, key: np.uint64) -> float:
    row = int(find_number(tables, np.uint64(table), key, ZERO))
    return float(tables.values[row, 3])


def test_small_whole_numbers_spread_over_a_hash_table() -> None:
    """Their doubles differ only in the high bits: a weak hash would put all into a few slots."""
    keys = np.arange(512, dtype=np.float64).view(np.uint64)
    slots = {int(hash_bits(key, ZERO)) & 1023 for key in keys}
    assert len(slots) > 350  # 512 balls into 1024 boxes fill 403 on average
    table = build_number_tables([NumberTable(keys, np.zeros_like(keys), np.arange(512.0), -1.0)])
    found = [look_up(table, 0, key) for key in keys]
    assert found == list(range(512))


def test_keys_that_were_chosen_to_collide_are_refused() -> None:
    """Placing 100,000 of them would take 5 billion steps."""
    n = 100_000
    wanted = np.arange(n, dtype=np.uint64) << np.uint64(20)  # hashes with equal low bits
    keys = unhash(wanted)
    assert [int(hash_bits(key, ZERO)) for key in keys[:5]] == wanted[:5].tolist()
    with pytest.raises(ValueError, match="they collide"):
        build_number_tables([NumberTable(keys, np.zeros_like(keys), np.zeros(n), 0.0)])


def unhash(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The inverse of the hash of one word, as whoever builds such a table would compute it."""
    first, second = (pow(m, -1, 2**64) for m in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53))
    shift = np.uint64(33)
    h = h ^ (h >> shift)
    h = h * np.uint64(second)
    h = h ^ (h >> shift)
    h = h * np.uint64(first)
    return h ^ (h >> shift)


def test_key_that_is_not_there_gets_its_own_tables_value() -> None:
    one = np.array([1.0]).view(np.uint64)
    nothing = np.empty(0, np.uint64)
    tables = build_number_tables(
        [
            NumberTable(one, np.zeros_like(one), np.array([5.0]), -1.0),
            NumberTable(nothing, nothing, np.empty(0), 7.0),
        ]
    )
    two = np.array([2.0]).view(np.uint64)[0]
    assert [look_up(tables, table, two) for table in (0, 1)] == [-1.0, 7.0]
    assert look_up(tables, 0, one[0]) == 5.0
