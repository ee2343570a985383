"""Results of scores as bits."""

from __future__ import annotations

import math

import numpy as np

from stream_scorer.audit.records.results import (
    NO_REASONS,
    UNREAD,
    bits_of,
    hash_reasons,
    number_of,
)


def test_bits_and_numbers_are_each_others_inverse() -> None:
    for number in (0.0, -0.0, 0.1, 1.0, 5e-324, -1e308, float("inf")):
        assert math.copysign(1, number_of(bits_of(number))) == math.copysign(1, number)
        assert number_of(bits_of(number)) == number
    assert bits_of(0.0) != bits_of(-0.0)
    column = np.array([0.25, -0.5])
    assert column.view(np.int64).tolist() == [bits_of(0.25), bits_of(-0.5)]


def test_reasons_have_the_same_hash_only_if_they_are_the_same() -> None:
    alike: list[tuple[str, str | None, float]] = [("C1", "9", 0.1), ("D1", None, 0.2)]
    others: list[list[tuple[str, str | None, float]]] = [
        [("C1", "9", 0.1)],
        [("D1", None, 0.2), ("C1", "9", 0.1)],
        [("C1", "9", 0.1), ("D1", "", 0.2)],
        [("C19", "", 0.1), ("D1", None, 0.2)],
        [("C1", "9", math.nextafter(0.1, 1)), ("D1", None, 0.2)],
    ]
    hashes = [hash_reasons(some) for some in (alike, *others)]
    assert len(set(hashes)) == len(hashes)
    assert hash_reasons(list(alike)) == hashes[0]
    assert hash_reasons([]) == NO_REASONS
    assert not {NO_REASONS, UNREAD} & set(hashes)
