"""All operations together: values, causality, and what fitting and serving have in common."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from schemas.batch import build_batch
from schemas.contracts import TEXT_COLUMNS
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.operations.registry import OPERATIONS
from stream_scorer.features.program import read_program
from tests.support.factories import make_transactions
from tests.support.features.plain_features import PLAIN, PlainFeatures, every_operation

Row = dict[str, Any]

PROGRAM = every_operation()
NUMBERS = (0.0, -0.0, 1.0, 2.5, -3.0, 117.0, 12.345, 1e308, 5e-324, -1e308, 1e15 + 0.5)
TEXTS = (
    "", " ", "a", "visa", "T", "gmail.com", "yahoo.co.uk", ".", "no separator", "é☃", "é☃.𝄞", "..a",
    " SM-G892A Build/NRD90M ", "Windows 10", "x" * 256, "x" * 257, "é" * 128, "y" * 400 + ".com",
    "abcdefgh", "abcdefghi", "a\0", "a.b",
)  # fmt: skip


COLUMNS = (
    "TransactionAmt", "card1", "card2", "addr1", "card4", "P_emaildomain", "R_emaildomain", "M1",
    "DeviceInfo", "id_31", "D1", "D15", "V1", "V3", "V200", "V258", "V264", "V325", "id_03",
)  # fmt: skip


def rows_strategy() -> st.SearchStrategy[list[Row]]:
    cells: dict[str, st.SearchStrategy[Any]] = {
        column: st.none() | st.sampled_from(TEXTS if column in TEXT_COLUMNS else NUMBERS)
        for column in COLUMNS
    }
    cells["TransactionID"] = st.just(1)
    cells["TransactionDT"] = st.sampled_from((0, 1, 3599, 3600, 86_399, 86_400, 10**7, -1, 2**62))
    return st.lists(st.fixed_dictionaries(cells), max_size=8)


def same(actual: NDArray[np.float64], expected: Any) -> bool:
    """Equal bits, except that one NaN is as good as another."""
    expected = np.array(expected, np.float64).reshape(actual.shape)
    bits = actual.view(np.uint64) == expected.view(np.uint64)
    return bool((bits | (np.isnan(actual) & np.isnan(expected))).all())


def differing(actual: NDArray[np.float64], expected: Any) -> list[str]:
    expected = np.array(expected, np.float64).reshape(actual.shape)
    pairs = zip(PROGRAM.names, actual.T, expected.T, strict=True)
    return [name for name, a, e in pairs if not same(np.ascontiguousarray(a), e)]


def test_examples_cover_every_operation() -> None:
    used = {type(operation) for operation in PROGRAM.operations}
    assert used == set(PLAIN) == set(OPERATIONS.values())


@settings(max_examples=50, deadline=None)
@given(rows_strategy(), rows_strategy())
def test_features_equal_plain_python(training: list[Row], rows: list[Row]) -> None:
    features, matrix = FeatureSet.fit_transform(build_batch(training), PROGRAM)
    plain = PlainFeatures(PROGRAM)
    assert differing(matrix, plain.fit_transform(training)) == []
    served = features.transform(build_batch([*rows, *training]))
    assert differing(served, [plain.values(row) for row in [*rows, *training]]) == []


def varied_rows(n: int = 400, seed: int = 11) -> list[Row]:
    """Rows in which each operation has something to say."""
    rng = np.random.default_rng(seed)
    rows = make_transactions(n, seed)
    for row in rows:
        row["TransactionDT"] = 86_400 + 997 * row["TransactionID"]
        for column in ("D15", "D2", "V1", "V3", "V258", "V300", "id_01", "C4"):
            if rng.random() < 0.6:
                row[column] = float(rng.integers(0, 5))
        if rng.random() < 0.5:
            row["DeviceInfo"] = str(rng.choice(["SM-G892A Build/1", "Windows", "iOS Device"]))
        if rng.random() < 0.5:
            row["id_31"] = f"chrome {rng.integers(50, 60)}.0"
    return rows


@pytest.mark.parametrize("rows", [0, 1, 2, 57, 399])
def test_training_rows_do_not_see_later_rows(rows: int) -> None:
    """Leaving later rows out changes no bit of the earlier ones."""
    batch = build_batch(varied_rows())
    _, whole = FeatureSet.fit_transform(batch, PROGRAM)
    _, first = FeatureSet.fit_transform(batch.take(slice(0, rows)), PROGRAM)
    assert differing(first, whole[:rows]) == []


def test_training_row_gets_what_would_have_been_served_before_it() -> None:
    """So it sees earlier rows, and neither itself nor a later one."""
    batch = build_batch(varied_rows())
    _, whole = FeatureSet.fit_transform(batch, PROGRAM)
    for row in (0, 1, 2, 3, 40, 123, 399):
        before = FeatureSet.fit(batch.take(slice(0, row)), PROGRAM)
        served = before.transform(batch.take(slice(row, row + 1)))
        assert differing(served, whole[row]) == []


def test_each_fitted_feature_says_something_in_these_rows() -> None:
    """Else the tests above would pass for features that are always missing."""
    _, whole = FeatureSet.fit_transform(build_batch(varied_rows()), PROGRAM)
    first = 0
    for operation in PROGRAM.operations:
        if operation.IS_FITTED:
            for name, values in zip(operation.names, whole[:, first:].T, strict=False):
                assert len(np.unique(values[~np.isnan(values)])) > 1, name
        first += len(operation.names)


def test_served_rows_differ_from_training_rows() -> None:
    """The table after the last row is another one than a training row saw."""
    batch = build_batch(varied_rows())
    features, matrix = FeatureSet.fit_transform(batch, PROGRAM)
    changed = set(differing(features.transform(batch), matrix))
    assert {"card1_share", "card1_addr1_share", "P_emaildomain", "missing_pattern"} <= changed
    assert not changed & {"TransactionAmt", "hour", "card4_level", "missing_count"}


def test_fit_and_fit_transform_learn_the_same() -> None:
    batch = build_batch(varied_rows())
    features, _ = FeatureSet.fit_transform(batch, PROGRAM)
    assert FeatureSet.fit(batch, PROGRAM).state() == features.state()


@pytest.mark.parametrize("size", [1, 7, 64, 400])
def test_features_do_not_depend_on_the_batch(size: int) -> None:
    batch = build_batch(varied_rows())
    features = FeatureSet.fit(batch, PROGRAM)
    whole = features.transform(batch)
    parts = [batch.take(slice(i, i + size)) for i in range(0, len(batch), size)]
    assert same(np.vstack([features.transform(part) for part in parts]), whole)


def test_state_survives_pickle_and_json_with_equal_bits() -> None:
    batch = build_batch(varied_rows())
    features = FeatureSet.fit(batch, PROGRAM)
    for state in (
        pickle.loads(pickle.dumps(features.state(), 5)),
        json.loads(json.dumps(features.state())),
    ):
        again = FeatureSet.from_state(state)
        assert again.state() == features.state()
        assert again.program == PROGRAM
        assert again.fingerprint == features.fingerprint
        assert same(again.transform(batch), features.transform(batch))


def test_program_survives_as_plain_data() -> None:
    assert read_program(json.loads(json.dumps(PROGRAM.plain()))) == PROGRAM


def test_every_feature_has_words_and_a_group() -> None:
    features = FeatureSet.unfitted(PROGRAM)
    assert set(features.groups) == set(features.names)
    for name in features.names:
        words = features.describe(name)
        assert 3 < len(words) < 120
        assert words[0] != words[0].upper() or words.startswith("e-mail"), words
    assert features.describe("TransactionAmt") == "amount of the transaction"
    assert features.describe("card1_share") == (
        "share of transactions with the same attribute of the card (card1)"
    )
    with pytest.raises(KeyError):
        features.describe("nothing")


def test_level_is_the_text_behind_a_code() -> None:
    batch = build_batch(varied_rows())
    features = FeatureSet.fit(batch, PROGRAM)
    matrix = features.transform(batch)
    for name, text in (("P_emaildomain_first", "gmail"), ("card4_level", "visa")):
        codes = matrix[:, PROGRAM.names.index(name)]
        assert text in {features.level(name, code) for code in codes.tolist()}
    assert features.level("P_emaildomain_first", -1.0) is None
    assert features.level("P_emaildomain_first", math.nan) is None
    assert features.level("P_emaildomain_first", 1e6) is None
    assert features.level("TransactionAmt", 1.0) is None
    assert set(features.level("missing_pattern", 0.0) or "") <= {".", "m"}


def test_columns_are_those_that_the_operations_read() -> None:
    columns = FeatureSet.unfitted(PROGRAM).columns
    assert set(columns) == {c for operation in PROGRAM.operations for c in operation.columns}
    assert list(columns).index("TransactionAmt") == 0
    assert len(set(columns)) == len(columns)
