"""The transactions of a file, in the order in which the trainer takes them."""

from __future__ import annotations

import numpy as np

from stream_scorer.features.history.spec import HistorySpec
from trainer.data.files import Advance
from trainer.data.ingest import read_unlabelled
from trainer.data.source import TrainingSource
from trainer.history.rows import history_layout
from trainer.skew.sides import FILE, Side, Start, side_of


def read_file_side(
    source: TrainingSource, spec: HistorySpec, start: Start, advance: Advance
) -> Side:
    """Read a file and compute its histories; labels are neither needed nor read.

    Raises:
        UsageError: the rows do not fit into memory.
        UnusableFileError: the file is invalid.
    """
    rows, place = read_unlabelled(source, advance)
    batch, _ = rows.all_rows(history_layout(spec))
    rows.release()
    n = len(batch)
    return side_of(FILE, batch, np.ones(n, np.bool_), np.zeros(n, np.int64), spec, start, place)
