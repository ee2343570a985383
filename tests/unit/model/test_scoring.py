"""The one scoring function: scores, decisions and reasons."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, build_batch
from stream_scorer.model.bundle import Bundle, Thresholds
from stream_scorer.model.forest.explained import Choose, Explained, explain_afterwards
from stream_scorer.model.scoring import LISTED, REASONS, Decision, Scores, attribute, score
from tests.support.factories import make_batch, make_bundle, make_transaction


def bundle_with(review: float, block: float) -> Bundle:
    return replace(make_bundle(), thresholds=Thresholds(review, block))


def everything_flagged() -> Bundle:
    return bundle_with(0.0, 1.0)


def assert_same(a: Scores, b: Scores, rows: NDArray[np.int64]) -> None:
    """Check that ``b`` has the rows of ``a`` in this order."""
    assert np.array_equal(a.raw[rows], b.raw)
    assert np.array_equal(a.scores[rows], b.scores)
    assert np.array_equal(a.decisions[rows], b.decisions)
    assert {i: a.reasons.get(int(r)) for i, r in enumerate(rows)} == {
        i: b.reasons.get(i) for i in range(len(rows))
    }


def test_scores_are_lightgbms_probabilities() -> None:
    bundle, batch = make_bundle(), make_batch(200, 5)
    found = score(batch, bundle)
    matrix = bundle.features.transform(batch)
    expected = bundle.reference.booster.predict(matrix, num_threads=1)
    assert np.array_equal(found.raw, bundle.reference.raw(matrix))
    assert (np.abs(found.scores - expected) <= 4 * np.spacing(expected)).all()
    assert found.version == "v1"
    assert ((found.scores > 0) & (found.scores < 1)).all()


def test_decision_at_a_threshold_is_the_stricter_one() -> None:
    batch = make_batch(100, 5)
    ordered = np.unique(score(batch, make_bundle()).scores)
    review, block = float(ordered[20]), float(ordered[60])
    found = score(batch, bundle_with(review, block))
    decision_of = dict(zip(found.scores.tolist(), found.decisions.tolist(), strict=True))
    assert decision_of[float(ordered[19])] == Decision.APPROVE
    assert decision_of[review] == Decision.REVIEW
    assert decision_of[float(ordered[59])] == Decision.REVIEW
    assert decision_of[block] == Decision.BLOCK
    assert found.decisions.dtype == np.uint8


def test_equal_thresholds_give_no_review_and_one_above_every_score_no_block() -> None:
    batch = make_batch(100, 5)
    middle = float(np.median(score(batch, make_bundle()).scores))
    assert set(score(batch, bundle_with(middle, middle)).decisions.tolist()) == {0, 2}
    assert set(score(batch, bundle_with(middle, 1.5)).decisions.tolist()) == {0, 1}


def test_exactly_the_flagged_rows_have_reasons() -> None:
    found = score(make_batch(200, 5), make_bundle())
    assert 0 < found.flagged.sum() < 200
    assert set(found.reasons) == set(np.flatnonzero(found.flagged).tolist())
    assert found.flagged.tolist() == [d != Decision.APPROVE for d in found.decisions.tolist()]


def test_reasons_are_the_largest_positive_contributions_in_order() -> None:
    bundle, batch = everything_flagged(), make_batch(150, 5)
    contributions = bundle.predictor.contributions(bundle.features.transform(batch))
    found = score(batch, bundle)
    assert max(len(reasons) for reasons in found.reasons.values()) == REASONS
    for row, reasons in found.reasons.items():
        pushes = [reason.contribution for reason in reasons]
        strongest = sorted((c for c in contributions[row].tolist() if c > 0), reverse=True)
        assert pushes == strongest[:REASONS]
        for reason in reasons:
            column = bundle.features.names.index(reason.feature)
            assert contributions[row, column] == reason.contribution


@pytest.mark.parametrize("by_shap", [False, True])
def test_base_and_contributions_add_up_to_the_raw_score(by_shap: bool) -> None:
    bundle, batch = make_bundle(), make_batch(100, 5)
    predictor = bundle.reference if by_shap else bundle.predictor
    total = predictor.base + predictor.contributions(bundle.features.transform(batch)).sum(axis=1)
    assert np.abs(total - score(batch, bundle).raw).max() < 1e-9


def test_row_scores_alike_alone_among_others_and_in_any_order() -> None:
    bundle, batch = everything_flagged(), make_batch(130, 5)
    whole = score(batch, bundle)
    order = np.random.default_rng(0).permutation(len(batch))
    assert_same(whole, score(batch.take(order), bundle), order)
    for row in range(0, len(batch), 7):
        rows = np.array([row])
        assert_same(whole, score(batch.take(rows), bundle), rows)


def test_no_rows_give_no_scores() -> None:
    found = score(build_batch([]), make_bundle())
    assert (len(found.scores), len(found.decisions), found.reasons) == (0, 0, {})


@pytest.mark.parametrize("by_shap", [False, True])
def test_attribution_lists_what_matters_in_both_directions_and_adds_up(by_shap: bool) -> None:
    bundle, batch = make_bundle(), make_batch(30, 5)
    explainer = bundle.reference if by_shap else bundle.predictor
    matrix = explainer.contributions(bundle.features.transform(batch))
    raw = score(batch, bundle).raw
    found = attribute(batch, bundle, raw, explainer)
    assert len(found) == 30
    assert any(reason.contribution < 0 for one in found for reason in one.contributions)
    for row, one in enumerate(found):
        pushes = [reason.contribution for reason in one.contributions]
        assert one.base == explainer.base
        assert math.fsum([one.base, *pushes, one.rest]) == pytest.approx(raw[row], abs=1e-12)
        assert [abs(p) for p in pushes] == sorted((abs(p) for p in pushes), reverse=True)
        assert len(pushes) == min(LISTED, (np.abs(matrix[row]) >= 0.005).sum())
        for reason in one.contributions:
            assert matrix[row, bundle.features.names.index(reason.feature)] == reason.contribution
        raised = sorted((c for c in matrix[row].tolist() if c > 0), reverse=True)[:REASONS]
        assert [reason.contribution for reason in one.reasons] == raised


def test_attribution_along_the_path_has_the_reasons_of_the_score() -> None:
    bundle, batch = everything_flagged(), make_batch(20, 5)
    found = score(batch, bundle)
    explained = attribute(batch, bundle, found.raw, bundle.predictor)
    assert [one.reasons for one in explained] == [found.reasons[row] for row in range(20)]
    assert attribute(build_batch([]), bundle, np.empty(0), bundle.predictor) == []


def shown(name: str, **fields: Any) -> str | None:
    """How a reason shows a feature of a transaction, whatever its contribution."""
    bundle = make_bundle()
    batch: TransactionBatch = build_batch([make_transaction(**fields)])
    pushing = replace(bundle, predictor=_Pushing(bundle.features.names.index(name)))
    (reason,) = score(batch, replace(pushing, thresholds=Thresholds(0.0, 0.0))).reasons[0]
    assert reason.feature == name
    return reason.value


class _Pushing:
    """Attributes everything to one feature."""

    base = 0.0

    def __init__(self, column: int) -> None:
        self._column = column

    def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.ones(len(matrix))

    def contributions(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.zeros(matrix.shape)
        out[:, self._column] = 1.0
        return out

    def explained(self, matrix: NDArray[np.float64], choose: Choose) -> Explained:
        return explain_afterwards(self.raw, self.contributions, matrix, choose)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (13926.0, "13926"),
        (59.95, "59.95"),
        (1234567.89, "1234567.89"),
        (0.1 + 0.2, "0.3"),
        (-3.5, "-3.5"),
        (-0.0, "0"),
        (0.00001234, "1.234e-05"),
        (1e300, "1e+300"),
        (123456789012.25, "123456789012.25"),
    ],
)
def test_numbers_are_shown_as_a_person_would_write_them(value: float, text: str) -> None:
    assert shown("V258", V258=value) == text


def test_missing_values_are_shown_as_none() -> None:
    assert shown("V258") is None
    assert shown("id_31") is None
    assert shown("id_31_frequency") is None


def test_strings_are_shown_as_sent_whatever_their_code() -> None:
    assert shown("P_emaildomain", P_emaildomain="gmail.com") == "gmail.com"
    assert shown("P_emaildomain", P_emaildomain="never seen ☃") == "never seen ☃"
    assert shown("P_emaildomain", P_emaildomain="") == ""
    assert shown("DeviceInfo", DeviceInfo="x" * 5000) == "x" * 200 + "…"


def test_derived_features_are_shown_by_their_value() -> None:
    assert shown("hour", TransactionDT=86_400 + 3 * 3_600) == "3"
    assert shown("amount_cents", amount=12.34) == "34"
    assert shown("card1_frequency", card1=-77.0) == "0"
