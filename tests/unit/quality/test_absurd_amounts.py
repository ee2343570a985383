"""One record with an absurd amount does not hide the amounts of all other frauds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schemas.contracts import MAX_AMOUNT, is_amount
from stream_scorer.quality.figures import all_figures
from tests.support.quality.kit import FRAUD, LEGITIMATE, count, make_labels, make_rows


def figures(amounts: list[float]) -> dict[str, Any]:
    """Amounts of fraud: four caught, four missed, and the sampled ones that stand for the rest."""
    scores = np.array([0.7] * 4 + [0.1] * 96)
    is_sampled = np.arange(100) >= 4
    rows = make_rows(
        scores,
        is_sampled=is_sampled,
        shares=np.where(is_sampled, 1.0, np.nan),
        amounts=np.array([*amounts, *amounts, *[5.0] * 92]),
    )
    known = {i: {"analyst": FRAUD if i < 8 else LEGITIMATE} for i in range(100)}
    found: dict[str, Any] = all_figures(count(rows, make_labels(known)), {})[0]["money"]
    return found


@pytest.mark.parametrize("absurd", [1e308, -1e308, 1e16, np.inf])
def test_absurd_amount_is_one_that_is_not_known(absurd: float) -> None:
    found = figures([10.0, 20.0, 30.0, absurd])
    assert found == figures([10.0, 20.0, 30.0, np.nan])
    assert (found["caught"]["value"], found["caught"]["frauds_of_unknown_amount"]) == (60.0, 1)
    assert found["missed_in_sample"]["sampled"]["value"] == pytest.approx(60.0)


def test_amounts_count_up_to_the_largest_that_a_history_remembers() -> None:
    values = [0.0, -5.0, MAX_AMOUNT, -MAX_AMOUNT, np.nextafter(MAX_AMOUNT, np.inf), np.nan, -np.inf]
    assert is_amount(np.array(values)).tolist() == [True] * 4 + [False] * 3
