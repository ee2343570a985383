"""The standing labels as a table with one row for each transaction. Pure."""

from __future__ import annotations

import numpy as np

from stream_scorer.labels.labels import ORIGINS
from stream_scorer.labels.standing import Rows, StandingLabels, last_records
from stream_scorer.quality.rows import NONE, Integers, LabelTable, Small

_ANALYST = ORIGINS.index("ANALYST")


def table_of(labels: StandingLabels, input_topic: str) -> LabelTable:
    """The labels of all transactions.

    A chargeback and its reversal are of one kind: the last record of the two stands.

    Args:
        labels: as they stand.
        input_topic: a label may name the record of this topic that it is about.
    """
    last, by_origin = labels.last, labels.by_origin
    ids: Integers = last["id"]
    is_analyst = by_origin["origin"] == _ANALYST
    names = np.array([topic == input_topic for topic in labels.topics] + [False], np.bool_)
    is_ours = names[last["topic"]]  # -1, for none, is the last one
    return LabelTable(
        ids=ids,
        standing=last["value"],
        decided_at=last["decided_at"],
        analyst=_values(ids, by_origin[is_analyst]),
        report=_values(ids, last_records(by_origin[~is_analyst])),
        partitions=np.where(is_ours, last["source_partition"], -1).astype(np.int64),
        offsets=np.where(is_ours, last["source_offset"], -1),
        bad_records=labels.bad,
    )


def _values(ids: Integers, rows: Rows) -> Small:
    """The value of each transaction's row; ``NONE`` where there is none."""
    found = np.full(len(ids), NONE, np.int8)
    found[np.searchsorted(ids, rows["id"])] = rows["value"]
    return found
