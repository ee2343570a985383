"""A batch is scored although some of its rows cannot be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.contracts import AMOUNT, NUMBER_INDEX
from stream_scorer.errors import RetryableError
from stream_scorer.model.isolated import score_isolated
from stream_scorer.model.scoring import score
from tests.support.factories import make_batch, make_bundle
from tests.support.scoring_kit import RaisesFor, raising

MARKED = 123_456.0


@pytest.mark.parametrize("bad", [[], [0], [49], [7, 8, 30], list(range(50))])
def test_rows_at_fault_are_found_and_all_others_have_their_scores(bad: list[int]) -> None:
    batch, bundle = make_batch(50), make_bundle()
    batch.numbers[bad, NUMBER_INDEX[AMOUNT]] = MARKED
    parts, failed = score_isolated(batch, raising(bundle, MARKED))
    assert failed == dict.fromkeys(bad, "ZeroDivisionError: marked amount")
    scores = np.full(50, np.nan)
    for rows, found in parts:
        scores[rows] = found.scores
        assert {int(rows[row]) for row in found.reasons} <= set(rows.tolist())
    good = np.setdiff1d(np.arange(50), bad)
    assert (scores[good] == score(make_batch(50), bundle).scores[good]).all()
    assert np.isnan(scores[bad]).all()


def test_score_that_is_not_finite_is_a_fault_of_its_row() -> None:
    class Infinite(RaisesFor):
        def raw(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
            raw = self.inner.raw(matrix)
            raw[matrix[:, NUMBER_INDEX[AMOUNT]] == self.amount] = np.inf
            return raw

    batch, bundle = make_batch(20), make_bundle()
    batch.numbers[3, NUMBER_INDEX[AMOUNT]] = MARKED
    parts, failed = score_isolated(
        batch, replace(bundle, predictor=Infinite(bundle.predictor, MARKED))
    )
    assert failed == {3: "the score is not a finite number"}
    assert sum(len(rows) for rows, _ in parts) == 19


@pytest.mark.parametrize("error", [RetryableError("not now"), MemoryError()])
def test_error_that_is_no_rows_fault_is_raised(error: Exception) -> None:
    batch = make_batch(20)
    batch.numbers[3, NUMBER_INDEX[AMOUNT]] = MARKED
    with pytest.raises(type(error)):
        score_isolated(batch, raising(make_bundle(), MARKED, error))


def test_batch_without_rows_has_no_scores() -> None:
    assert score_isolated(make_batch(5).take([]), make_bundle()) == ([], {})
