"""Features of batches that have only the columns which the program reads."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from tests.support.factories import make_batch
from tests.support.features.plain_features import every_operation

# Without the count over all columns, which reads every one of them.
NARROW = every_operation().without(["missing"])


def test_features_of_a_narrow_batch_have_the_same_bits() -> None:
    features = FeatureSet.fit(make_batch(200, 2), NARROW)
    values = encode_transactions(make_batch(100, 3))
    decoder = TransactionDecoder(LocalSchemas())
    assert features.layout is not None
    assert len(features.layout.columns) < 40
    whole = decoder.decode(values, [None] * 100).batch
    narrow = decoder.decode(values, [None] * 100, features.layout).batch
    assert narrow.layout == features.layout
    a, b = features.transform(whole), features.transform(narrow)
    assert np.array_equal(a.view(np.uint64), b.view(np.uint64))
    part = features.transform(narrow.take(slice(30, 31)))
    assert np.array_equal(part.view(np.uint64), a[30:31].view(np.uint64))


def test_layout_has_what_the_program_reads() -> None:
    layout = FeatureSet.unfitted(NARROW).layout
    assert layout is not None
    assert {c for c in NARROW.columns if c in NUMBER_INDEX} <= set(layout.columns)


def test_program_that_reads_every_column_needs_all_of_them() -> None:
    assert FeatureSet.unfitted(load_builtin(IEEE_CIS)).layout is None
    assert FeatureSet.unfitted(every_operation()).layout is None


def test_batch_of_another_models_columns_is_refused() -> None:
    values = encode_transactions(make_batch(2))
    decoder = TransactionDecoder(LocalSchemas())
    other = decoder.decode(values, [None] * 2, Layout(("V1",))).batch
    for program in (NARROW, load_builtin(IEEE_CIS)):
        with pytest.raises(ValueError, match="another model's features"):
            FeatureSet.unfitted(program).transform(other)


def test_fitting_needs_every_column() -> None:
    values = encode_transactions(make_batch(2))
    other = TransactionDecoder(LocalSchemas()).decode(values, [None] * 2, Layout(("V1",))).batch
    for fit in (FeatureSet.fit, FeatureSet.fit_transform):
        with pytest.raises(ValueError, match="lacks columns"):
            fit(other, NARROW)
