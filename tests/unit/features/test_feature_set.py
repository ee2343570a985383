"""The features: their values, and that a row's features depend only on that row."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from fractions import Fraction
from types import NoneType
from typing import Any

import numpy as np
import pytest

from schemas.batch import TransactionBatch, build_batch
from schemas.contracts import AMOUNT, NUMBER_COLUMNS, TEXT_COLUMNS
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from tests.support.factories import make_batch, make_program, make_transaction, make_transactions

MIN_COUNT = 5
SHARES = (
    "card1", "card2", "card3", "card5", "addr1", "addr2",
    "P_emaildomain", "R_emaildomain", "DeviceInfo", "id_30", "id_31", "id_33",
)  # fmt: skip
PAIRS = (("card1", "addr1"), ("card1", "card5"), ("card2", "addr1"))
NAMES = load_builtin(IEEE_CIS).names


def fit(batch: TransactionBatch, min_count: int) -> FeatureSet:
    return FeatureSet.fit(batch, make_program(min_count))


def fitted(n: int = 300, seed: int = 3) -> FeatureSet:
    return fit(make_batch(n, seed), MIN_COUNT)


def feature(features: FeatureSet, name: str, **fields: Any) -> float:
    row = build_batch([make_transaction(**fields)])
    return float(features.transform(row)[0, NAMES.index(name)])


def same_bits(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a.view(np.uint64), b.view(np.uint64)))


def odd_rows() -> list[dict[str, Any]]:
    """Unusual rows that a decoder may return: missing, empty, huge, non-Latin text."""
    return [
        make_transaction(1, 0.0, card1=-0.0, addr1=0.0),
        make_transaction(2, -0.0, card1=None, card4=None, ProductCD=None),
        make_transaction(3, 1e308, card1=5e-324, addr1=-1e308, C1=1e-36),
        make_transaction(4, 0.1 + 0.2, P_emaildomain="", R_emaildomain=""),
        make_transaction(5, 10.999, P_emaildomain="x" * 100_000, DeviceInfo="naïve ☃ 𝄞"),
        make_transaction(6, -12.345, P_emaildomain="gmail.com", R_emaildomain="gmail.com"),
        make_transaction(7, 3.0, TransactionDT=-1),
        make_transaction(8, 3.0, TransactionDT=2**62),
    ]


def test_whole_batch_is_row_by_row_is_shuffled_bit_for_bit() -> None:
    features = fitted()
    batch = build_batch([*make_transactions(120, 9), *odd_rows()])
    whole = features.transform(batch)
    assert whole.shape == (len(batch), len(NAMES))
    assert whole.dtype == np.float64
    assert whole.flags.c_contiguous
    one_by_one = np.vstack([features.transform(batch.take(slice(i, i + 1))) for i in range(128)])
    assert same_bits(whole, one_by_one)
    order = np.random.default_rng(0).permutation(len(batch))
    assert same_bits(whole[order], features.transform(batch.take(order)))


def test_row_built_alone_has_the_features_it_has_among_others() -> None:
    features = fitted()
    rows = [*make_transactions(20, 9), *odd_rows()]
    whole = features.transform(build_batch(rows))
    for i, row in enumerate(rows):
        assert same_bits(whole[i : i + 1], features.transform(build_batch([row])))


def test_transform_of_no_rows_is_an_empty_matrix() -> None:
    assert fitted().transform(build_batch([])).shape == (0, len(NAMES))


def test_codes_shares_and_means_equal_a_plain_recomputation() -> None:
    training, rows = make_transactions(300, 3), make_transactions(80, 4)
    matrix = fitted().transform(build_batch(rows))
    expected = PlainFeatures(training)
    for i, row in enumerate(rows):
        for name, value in expected.of(row).items():
            actual = float(matrix[i, NAMES.index(name)])
            assert actual == value or (math.isnan(actual) and math.isnan(value)), (i, name)


class PlainFeatures:
    """An independent implementation of the definition, with dictionaries and exact sums."""

    def __init__(self, training: list[dict[str, Any]]) -> None:
        self.n = len(training)
        self.training = training
        self.means: dict[tuple[str, float], float] = {}
        for name in ("card1", "addr1"):
            for key, seen in self.count(name).items():
                amounts = [r[AMOUNT] for r in training if r.get(name) == key]
                total = 0.0
                for amount in amounts:  # in the order of the rows, as the fit adds them up
                    total += amount
                if seen >= MIN_COUNT:
                    self.means[name, key] = total / seen
        self.codes = {name: self.code_of(name) for name in TEXT_COLUMNS}

    def count(self, *names: str) -> Counter[Any]:
        keys = ([r.get(n) for n in names] for r in self.training)
        return Counter(k[0] if len(k) == 1 else tuple(k) for k in keys if None not in k)

    def code_of(self, name: str) -> dict[str, int]:
        seen: Counter[str] = Counter()
        codes: dict[str, int] = {}
        for level in (r[name] for r in self.training if r.get(name) is not None):
            seen[level] += 1
            if seen[level] == MIN_COUNT:
                codes[level] = len(codes)
        return codes

    def share(self, row: dict[str, Any], *names: str) -> float:
        key = tuple(row.get(n) for n in names)
        if None in key:
            return math.nan
        return self.count(*names)[key[0] if len(key) == 1 else key] / self.n

    def of(self, row: dict[str, Any]) -> dict[str, float]:
        found = {name: row.get(name, math.nan) for name in NUMBER_COLUMNS}
        for name in TEXT_COLUMNS:
            level = row.get(name)
            found[name] = math.nan if level is None else self.codes[name].get(level, -1)
        for name in SHARES:
            found[f"{name}_frequency"] = self.share(row, name)
        for a, b in PAIRS:
            found[f"{a}_{b}_frequency"] = self.share(row, a, b)
        for name in ("card1", "addr1"):
            mean = self.means.get((name, row.get(name, math.nan)))
            found[f"TransactionAmt_to_{name}_mean"] = row[AMOUNT] / mean if mean else math.nan
        cents = Fraction(str(row[AMOUNT])) * 100
        found["amount_cents"] = float(cents % 100)
        found["amount_has_fraction_of_cent"] = float(cents.denominator != 1)
        seconds = row["TransactionDT"]
        found["hour"], found["weekday"] = seconds // 3600 % 24, seconds // 86400 % 7
        emails = row.get("P_emaildomain"), row.get("R_emaildomain")
        found["email_domains_equal"] = math.nan if None in emails else emails[0] == emails[1]
        given = sum(row.get(n) is not None for n in (*NUMBER_COLUMNS, *TEXT_COLUMNS))
        found["missing_count"] = len(NUMBER_COLUMNS) + len(TEXT_COLUMNS) - given
        return found


def test_unseen_and_rare_levels_are_other_and_missing_is_nan() -> None:
    rows = [make_transaction(i, card4="visa") for i in range(6)]
    rows += [make_transaction(9, card4="rare", P_emaildomain="rare")]
    features = fit(build_batch(rows), 2)
    assert feature(features, "card4", card4="visa") == 0
    assert feature(features, "card4", card4="rare") == -1
    assert feature(features, "card4", card4="never seen") == -1
    assert math.isnan(feature(features, "card4", card4=None))
    # A rare level has no code of its own, but its share is known.
    assert feature(features, "P_emaildomain_frequency", P_emaildomain="rare") == 1 / 7
    assert feature(features, "P_emaildomain_frequency", P_emaildomain="never seen") == 0
    assert math.isnan(feature(features, "P_emaildomain_frequency"))


def test_unseen_number_has_share_zero_and_no_mean() -> None:
    features = fitted()
    assert feature(features, "card1_frequency", card1=77.5) == 0
    assert feature(features, "card1_addr1_frequency", card1=77.5, addr1=100.0) == 0
    assert math.isnan(feature(features, "card1_addr1_frequency", card1=1001.0))
    assert math.isnan(feature(features, "TransactionAmt_to_card1_mean", card1=77.5))


def test_minus_zero_counts_as_zero_in_fit_and_in_transform() -> None:
    rows = [make_transaction(i, 10.0, card1=[0.0, -0.0][i % 2], addr1=-0.0) for i in range(4)]
    features = fit(build_batch(rows), 2)
    for zero in (0.0, -0.0):
        assert feature(features, "card1_frequency", card1=zero) == 1
        assert feature(features, "card1_addr1_frequency", card1=zero, addr1=zero) == 1
        assert feature(features, "TransactionAmt_to_card1_mean", amount=5.0, card1=zero) == 0.5


def test_empty_string_is_a_level_and_not_missing() -> None:
    rows = [make_transaction(i, card6="") for i in range(3)]
    features = fit(build_batch(rows), 2)
    assert feature(features, "card6", card6="") == 0
    assert math.isnan(feature(features, "card6"))


@pytest.mark.parametrize(("length", "code"), [(256, 0), (257, -1), (1_000_000, -1)])
def test_string_beyond_the_limit_is_never_a_level(length: int, code: int) -> None:
    level = "é" + "x" * (length - 2)
    features = fit(build_batch([make_transaction(i, card6=level) for i in range(3)]), 2)
    assert feature(features, "card6", card6=level) == code


def test_strings_with_a_common_prefix_are_distinguished() -> None:
    levels = ["", "a", "aa", "a\0", "ab", "é", "e\u0301"]
    rows = [make_transaction(i, id_31=level) for i, level in enumerate(levels)]
    features = fit(build_batch(rows), 1)
    codes = {level: feature(features, "id_31", id_31=level) for level in levels}
    assert sorted(codes.values()) == list(range(len(levels)))
    assert {features.level("id_31", code) for code in codes.values()} == set(levels)


def test_level_returns_the_text_of_a_code_and_none_for_other_and_missing() -> None:
    features = fitted()
    assert features.level("ProductCD", 0.0) == "W"
    assert features.level("ProductCD", -1.0) is None
    assert features.level("ProductCD", math.nan) is None


def test_equal_email_domains() -> None:
    features, name = fitted(), "email_domains_equal"
    assert feature(features, name, P_emaildomain="a.com", R_emaildomain="a.com") == 1
    assert feature(features, name, P_emaildomain="a.com", R_emaildomain="a.org") == 0
    assert feature(features, name, P_emaildomain="", R_emaildomain="") == 1
    assert math.isnan(feature(features, name, P_emaildomain="a.com"))


@pytest.mark.parametrize(
    ("amount", "cents", "has_fraction"),
    [(0.0, 0, 0), (59.95, 95, 0), (0.29, 29, 0), (12.3456, 35, 1), (1e6 + 0.01, 1, 0)],
)
def test_cents_of_an_amount(amount: float, cents: float, has_fraction: float) -> None:
    features = fitted()
    assert feature(features, "amount_cents", amount=amount) == cents
    assert feature(features, "amount_has_fraction_of_cent", amount=amount) == has_fraction


@pytest.mark.parametrize(
    ("seconds", "hour", "weekday"), [(0, 0, 0), (-1, 23, 6), (86_400 * 8 + 3_599, 0, 1)]
)
def test_hour_and_weekday(seconds: int, hour: float, weekday: float) -> None:
    features = fitted()
    assert feature(features, "hour", TransactionDT=seconds) == hour
    assert feature(features, "weekday", TransactionDT=seconds) == weekday


def test_fit_is_deterministic() -> None:
    batch = make_batch(200, 5)
    state = json.dumps(fit(batch, MIN_COUNT).state())
    assert json.dumps(fit(batch, MIN_COUNT).state()) == state


def test_state_survives_a_pickle_and_gives_the_same_bits() -> None:
    features, batch = fitted(), make_batch(50, 8)
    again = FeatureSet.from_state(pickle.loads(pickle.dumps(features.state())))
    assert again.state() == features.state()
    assert again.fingerprint == features.fingerprint
    assert same_bits(features.transform(batch), again.transform(batch))


def test_state_is_plain_data() -> None:
    def check(value: Any) -> None:
        assert type(value) in (dict, list, str, int, float, NoneType)
        for part in value.values() if isinstance(value, dict) else ():
            check(part)
        for part in value if isinstance(value, list) else ():
            check(part)

    check(fitted(60).state())


def test_transform_learns_nothing() -> None:
    features, batch = fitted(), make_batch(50, 8)
    before, first = json.dumps(features.state()), features.transform(batch)
    features.transform(build_batch(odd_rows()))
    features.transform(make_batch(100, 77))
    assert json.dumps(features.state()) == before
    assert same_bits(first, features.transform(batch))


def test_transform_leaves_its_input_and_earlier_outputs_alone() -> None:
    features, batch = fitted(), make_batch(20, 8)
    numbers = batch.numbers.copy()
    first = features.transform(batch)
    kept = first.copy()
    features.transform(make_batch(20, 9))
    assert same_bits(first, kept)
    assert same_bits(batch.numbers, numbers)


def test_features_of_a_set_fitted_on_nothing() -> None:
    features = fit(build_batch([]), MIN_COUNT)
    assert feature(features, "card4") == -1
    assert feature(features, "card1_frequency") == 0


def test_names_are_unique_and_start_with_the_columns() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert NAMES[: len(NUMBER_COLUMNS) + len(TEXT_COLUMNS)] == (*NUMBER_COLUMNS, *TEXT_COLUMNS)


def test_batches_with_read_only_text_and_with_no_text_at_all() -> None:
    features = fitted()
    plain: TransactionBatch = build_batch([{"TransactionID": 1, "TransactionDT": 0, AMOUNT: 1.0}])
    assert features.transform(plain)[0, NAMES.index("missing_count")] == 430


def test_texts_of_every_length_are_distinguished_at_any_offset() -> None:
    """Look-ups read eight bytes at once, but must ignore the bytes after a string."""
    levels = ["abcdefghijklmnopqrstuvwxyz"[:k] for k in range(27)]
    levels += [level[:-1] + "#" for level in levels if level]
    rows = [make_transaction(i, card4=level) for i, level in enumerate(levels)]
    features = fit(build_batch(rows * 2), 2)
    column = NAMES.index("card4")
    codes = features.transform(build_batch(rows))[:, column]
    assert [features.level("card4", code) for code in codes] == levels
    for row, code in zip(rows, codes, strict=True):  # alone: no bytes follow it
        assert features.transform(build_batch([row]))[0, column] == code
    for level in levels:
        unseen = build_batch([make_transaction(card4=level + "!"), make_transaction(card4="!")])
        assert features.transform(unseen)[:, column].tolist() == [-1.0, -1.0]
