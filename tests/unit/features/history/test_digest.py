"""A fixed stream gives fixed bits: the digests change when one bit of features or state does."""

from __future__ import annotations

import hashlib
import json
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import build_batch
from stream_scorer.features.history.decay import FINE_AT, MIDDLE_AT, decay_tables
from stream_scorer.features.history.spec import HISTORY_VERSION, SEMANTICS
from tests.support.features.history_streams import (
    DAY,
    SPECS,
    Matrix,
    Row,
    bits,
    differing,
    every_kind,
    make_rows,
    one_pass,
    some_rows,
)
from tests.support.features.plain_history import PlainHistory, PlainKey, amount_of

ROWS_DIGEST = "6507cd32c4d13d47857e9fa46708a766b2d23dc538e7bfa21720837d53b42f09"
DIGESTS = {
    ("every kind", 2**30): (
        "225a9d2ec0e5e1fddd863f84a88bf9626b2ef2e2826c415e5ca113e1d720f69d",
        "750881121422e593f8215570c620eecbb77941ffa36dd1bf56e610fc50301d1e",
    ),
    ("every kind", 50): (
        "182421978169cd3c0de66eea46fc97baf3e790a1872fd4741775d45dfa64c8be",
        "4d497c2be90da565750d3f7a185739ab53c498329a5249d134c9496cb71edd8c",
    ),
    ("wide", 2**30): (
        "7cdaa1c918ad6ad509cf6a5964b7f150738537e86dce1586ecb0b7752536e045",
        "e53b35df4a1381e69fe1d04a2e07fd4b3981309be4b305079ecca7552e8a12f0",
    ),
    ("count alone", 2**30): (
        "ccb4ce7d74dfb37c4b9f1b92c581bfdb28d232efdc03866a24199bce3931c06c",
        "55ad3afcd9f02867474246ff6e03390b98878eb095f8fa12368b1e6bbcd75b37",
    ),
}
"""Spec and limit of keys → digests of the features and of the state."""

FINGERPRINTS = {
    "every kind": "a054b2f4991b5cc8e4e26530761f050e29709aafad530cc28727dfdcc6a346b3",
    "wide": "d2fc88b8796efefd10d45465ea09eb1549d4751ea5f3531e96085300f1c34bfd",
    "count alone": "5d779df9dde7e25326a8f4c90deabace55df5b6f4767e0e19877a47074aa8c13",
}

ADVICE = f"""
The bits of card history changed. Snapshots and models of an earlier release hold the old ones, so
- raise HISTORY_VERSION in stream_scorer/features/history/spec.py (it is {HISTORY_VERSION}), or
- prove that the bits are the same, if only this test's stream or its digest function changed.
Then put the new digest here."""


def stream() -> list[Row]:
    """From whole numbers alone; a few amounts and times are extreme, and there is a gap."""
    rows = make_rows(3_000, 77, cards=60, seconds=900)
    extremes = (1e-320, 1e308, -1e308, 31_937.39, 0.0, 1e15 + 2, 117.95)
    for i in range(5, len(rows), 97):
        rows[i] = {**rows[i], "TransactionAmt": extremes[i % 7], "C1": 1e308 * (i % 2)}
    rows[100] = {**rows[100], "TransactionDT": 2**32 - 1}
    return [
        {**r, "TransactionDT": r["TransactionDT"] + 30 * DAY} if i > 1_900 else r
        for i, r in enumerate(rows)
    ]


def digest(*arrays: NDArray[np.uint64]) -> str:
    content = hashlib.sha256()
    for array in arrays:
        content.update(repr(array.shape).encode())
        content.update(array.astype("<u8").tobytes())
    return content.hexdigest()


def digests(name: str, max_keys: int) -> tuple[str, str]:
    rows = stream()
    values, history = one_pass(SPECS[name](), build_batch(rows), some_rows(len(rows)), max_keys)
    records = history.records()
    state = np.array([records.clock, history.check_sum()], np.uint64)
    return digest(bits(values)), digest(state, *records.spaces.values())


def test_stream_is_the_one_that_the_digests_are_of() -> None:
    text = json.dumps(stream(), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == ROWS_DIGEST


@pytest.mark.parametrize(("name", "max_keys"), list(DIGESTS))
def test_bits_of_features_and_state_are_those_of_this_version(name: str, max_keys: int) -> None:
    assert SEMANTICS == f"history/{HISTORY_VERSION}" == "history/1", ADVICE
    assert digests(name, max_keys) == DIGESTS[name, max_keys], ADVICE


@pytest.mark.parametrize("name", list(SPECS))
def test_fingerprint_of_a_spec_stays_the_same(name: str) -> None:
    """It names the folder of the snapshots: a new one leaves them behind."""
    assert SPECS[name]().fingerprint == FINGERPRINTS[name], ADVICE


def test_digest_changes_with_any_bit() -> None:
    values = np.linspace(0.0, 1.0, 50).reshape(10, 5)
    changed = values.copy()
    bits(changed)[7, 3] ^= np.uint64(1)
    assert digest(bits(values)) != digest(bits(changed))
    assert digest(bits(values)) != digest(bits(values).reshape(5, 10))


FACTORS = {
    half: decay_tables([half])[0].tolist() for half in every_kind().spaces[0].layout.half_lives
}


def factor(gap: int, half_life: int) -> float:
    """2^(-gap / half-life), multiplied in the order of the compiled loop."""
    table, rest = FACTORS[half_life], gap % half_life
    coarse, middle = table[rest >> 16], table[MIDDLE_AT + (rest >> 8 & 255)]
    power: float = 2.0 ** -(gap // half_life) * coarse * middle * table[FINE_AT + (rest & 255)]
    return power if gap // half_life < 512 else 0.0


class Ordered(PlainKey):
    """With all operations in the order of the compiled loop."""

    def decayed(self, time: int, half_life: int, *, amounts: bool) -> float:
        total, last = 0.0, -1
        for row in self.rows:
            gap = max(row["TransactionDT"] - last, 0) if last >= 0 else 2**40
            added = amount_of(row) if amounts else 1.0
            total = self.multiply_add(total, factor(gap, half_life), added)
            total = 0.0 if abs(total) < 1e-100 else total
            last = max(last, row["TransactionDT"])
        return total * factor(max(time - last, 0), half_life)

    def multiply_add(self, a: float, b: float, c: float) -> float:
        return a * b + c


def fused(a: float, b: float, c: float) -> float:
    """What a fused multiply-add gives: rounded once."""
    return float(Fraction(a) * Fraction(b) + Fraction(c))


class FusedDecay(Ordered):
    def multiply_add(self, a: float, b: float, c: float) -> float:
        return fused(a, b, c)


class FusedSquares(Ordered):
    def squares(self) -> float:
        total = 0.0
        for row in self.rows:
            total = fused(amount_of(row), amount_of(row), total)
        return total


class FusedVariance(Ordered):
    def variance(self, mean: float) -> float:
        return fused(-mean, mean, self.squares() / len(self.rows))


def in_python(key: type[PlainKey], rows: list[Row]) -> Matrix:
    history = PlainHistory(every_kind(), new_key=key)
    return np.array([history.advance(row) for row in rows])


@pytest.mark.parametrize(
    ("key", "features"),
    [
        (Ordered, set()),
        (
            FusedDecay,
            {
                "client_count_decayed_1d",
                "client_count_decayed_7d",
                "client_amount_decayed_7d",
                "client_amount_decayed_5000s",
            },
        ),
        (FusedSquares, {"client_amount_z"}),
        (FusedVariance, {"client_amount_z"}),
    ],
)
def test_fused_multiply_add_would_be_found(key: type[PlainKey], features: set[str]) -> None:
    """A compiler that fuses a multiplication and an addition changes bits of the pinned stream."""
    spec, rows = every_kind(), stream()[:700]
    values, _ = one_pass(spec, build_batch(rows))
    values[np.isnan(values)] = np.nan
    found = in_python(key, rows)
    found[np.isnan(found)] = np.nan
    assert set(differing(spec, found, values)) == features
    assert (digest(bits(found)) == digest(bits(values))) == (features == set())
