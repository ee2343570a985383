"""Scores a batch although some of its rows cannot be scored."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.errors import ScorerError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import Scores, score

_NOT_FINITE: Final = "the score is not a finite number"


class ScoredRows(NamedTuple):
    """Rows of a batch (int64) and their scores."""

    rows: NDArray[np.int64]
    scores: Scores


def score_isolated(
    batch: TransactionBatch, bundle: Bundle
) -> tuple[list[ScoredRows], dict[int, str]]:
    """The scores of a batch in parts, and the rows that cannot be scored with the reason of each.

    A batch that raises is split in half until the row at fault is alone.

    Raises:
        ScorerError, MemoryError: no row is at fault.
    """
    todo = [np.arange(len(batch), dtype=np.int64)] if len(batch) else []
    done: list[ScoredRows] = []
    failed: dict[int, str] = {}
    while todo:
        rows = todo.pop()
        part = batch if len(rows) == len(batch) else batch.take(rows)
        try:
            scores = score(part, bundle)
        except (ScorerError, MemoryError):
            raise
        except Exception as error:  # whatever a model does with a row
            if len(rows) == 1:
                failed[int(rows[0])] = f"{type(error).__name__}: {error}"
            else:
                todo += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
            continue
        finite = np.isfinite(scores.raw)
        if finite.all():
            done.append(ScoredRows(rows, scores))
            continue
        failed |= dict.fromkeys(rows[~finite].tolist(), _NOT_FINITE)
        if finite.any():
            todo.append(rows[finite])
    return done, failed
