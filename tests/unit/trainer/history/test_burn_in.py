"""The first tenth of the time is not learned from, if the program has card history."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.program import Program
from tests.support.training.history_kit import make_history_program
from trainer.history.burn_in import burn_in_facts, first_learned_row, log_burn_in

DAY = 86_400
TIMES = np.arange(0, 100 * DAY + 1, DAY // 2, dtype=np.int64)  # two rows a day, a hundred days


@pytest.mark.parametrize(
    ("program", "first"), [(make_history_program(), 20), (load_builtin("raw/1"), 0)]
)
def test_first_row_that_is_learned_from(program: Program, first: int) -> None:
    assert first_learned_row(TIMES, program) == first


def test_it_is_a_share_of_the_time_and_not_of_the_rows() -> None:
    crowded = np.concatenate([np.zeros(900, np.int64), TIMES[1:]])
    assert first_learned_row(crowded, make_history_program()) == 919
    assert first_learned_row(np.zeros(5, np.int64), make_history_program()) == 0
    assert first_learned_row(np.empty(0, np.int64), make_history_program()) == 0


def test_it_is_in_the_metadata_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    assert burn_in_facts(TIMES, 20) == {
        "share_of_time": 0.1, "rows": 20, "until_seconds": 10 * DAY,
    }  # fmt: skip
    with caplog.at_level(logging.INFO):
        log_burn_in(TIMES, 20)
    assert "the first 10.0 days (20 of 201 rows) only build up card histories" in caplog.text
