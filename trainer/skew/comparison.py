"""Compares the card history of a file with that of the input topic, transaction by transaction.

Both are computed here, by the code of scorers and trainer. So where features differ, the inputs
differ: an earlier transaction is missing, in another place, or has another value. Each difference
is explained by the first such fault.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stream_scorer.features.history.spec import HistorySpec
from trainer.skew.explanation import Difference, Explainer, Index
from trainer.skew.sides import Side, Start


@dataclass(frozen=True, slots=True)
class Comparison:
    """Counts of transactions, and the first differences in the order of the file."""

    in_file: int
    in_topic: int
    compared: int
    differing: int
    only_in_file: int
    only_in_topic: int
    differences: tuple[Difference, ...]

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def compare(spec: HistorySpec, file: Side, topic: Side, start: Start, limit: int) -> Comparison:
    """Compare the features of the transactions that are on both sides.

    Args:
        spec: the features.
        file: in the order of time.
        topic: each partition in the order of offsets.
        start: the histories that both begin with.
        limit: how many differences are explained.
    """
    ours, theirs = Index(file, *file.first_rows()), Index(topic, *topic.first_rows())
    both, at_file, at_topic = np.intersect1d(
        ours.ids, theirs.ids, assume_unique=True, return_indices=True
    )
    pairs = np.stack([ours.rows[at_file], theirs.rows[at_topic]], axis=1)
    differing = pairs[file.digests[pairs[:, 0]] != topic.digests[pairs[:, 1]]]
    differing = differing[np.argsort(differing[:, 0])]
    explainer = Explainer(spec, ours, theirs, start)
    return Comparison(
        in_file=len(ours.ids),
        in_topic=len(theirs.ids),
        compared=len(both),
        differing=len(differing),
        only_in_file=len(ours.ids) - len(both),
        only_in_topic=len(theirs.ids) - len(both),
        differences=tuple(explainer.explain(i, j) for i, j in differing[:limit].tolist()),
    )
