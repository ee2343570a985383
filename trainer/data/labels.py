"""Labels that were decided after the transactions were written: they take precedence over isFraud.

The last label of a transaction stands. ``UNSURE`` takes the row out of the training: a person has
looked at it and could not decide, so neither class is right. Rows that are too young to be known
are left out whether they have a label or not, since frauds get theirs first: with the labelled
ones alone, the newest days would look like nothing but fraud.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from stream_scorer.labels.labels import LEGITIMATE, ORIGINS, UNSURE, Labels
from stream_scorer.runtime.settings import StoreSettings

_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Labelling:
    """Where labels come from, and which rows are old enough to have one.

    Attributes:
        source: a file, ``topic`` or ``kafka://``; None: only ``isFraud``.
        maturity_days: rows younger than this, before the newest row, are left out.
        settings: how to reach buckets; None: as the environment says.
    """

    source: str | None = None
    maturity_days: float | None = None
    settings: StoreSettings | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """The labels of all rows.

    Attributes:
        values: int8 ``[n]``, 1 is fraud; of a row that is left out: anything.
        is_kept: bool ``[n]``.
        facts: counts for the log and the metadata.
    """

    values: NDArray[np.int8]
    is_kept: NDArray[np.bool_]
    facts: dict[str, Any]


def label_rows(
    ids: NDArray[np.int64],
    times: NDArray[np.int64],
    own: NDArray[np.int8] | None,
    labels: Labels | None,
    maturity_days: float | None,
) -> Labelled:
    """Label rows, and leave out those whose label is not known.

    Args:
        ids: ``TransactionID`` of each row.
        times: ``TransactionDT`` of each row, in seconds.
        own: ``isFraud``; None if the file has no such column. Then a row without a label is
            legitimate if it is old enough.
        labels: other labels, if there are any.
        maturity_days: see :class:`Labelling`.

    Raises:
        UsageError: no label belongs to a row, or no row is left.
    """
    values = np.full(len(ids), LEGITIMATE, np.int8) if own is None else own.copy()
    is_kept = np.ones(len(ids), np.bool_)
    facts: dict[str, Any] = {}
    if labels is not None:
        is_kept, facts["labels"] = _join(ids, values, own, labels)
    if maturity_days is not None:
        is_old = times.max() - times >= maturity_days * _DAY_SECONDS
        facts["maturity"] = {"days": maturity_days, "left_out": int((~is_old).sum())}
        is_kept &= is_old
    if not is_kept.any():
        if maturity_days is None:
            raise UsageError(f"no row is left to train on: all {len(ids)} labels are UNSURE")
        days = (int(times.max()) - int(times.min())) / _DAY_SECONDS
        raise UsageError(
            f"no row is left to train on: {facts['maturity']['left_out']} of "
            f"{len(ids)} rows are younger than --maturity-days {maturity_days} (they span "
            f"{days:.1f} days), and the label of the others is UNSURE"
        )
    return Labelled(values, is_kept, facts)


def _join(
    ids: NDArray[np.int64],
    values: NDArray[np.int8],
    own: NDArray[np.int8] | None,
    labels: Labels,
) -> tuple[NDArray[np.bool_], dict[str, Any]]:
    """Write labels over ``values``; returns which rows have a known class, and the counts."""
    at = np.searchsorted(labels.ids, ids).clip(0, max(0, len(labels) - 1))
    has_label = labels.ids[at] == ids if len(labels) else np.zeros(len(ids), np.bool_)
    if not has_label.any():
        known = f"the first is {labels.ids[0]}" if len(labels) else "there are none"
        raise UsageError(
            f"{labels.facts['source']}: none of the labels of {len(labels)} transactions ({known}) "
            f"belongs to one of the {len(ids)} rows (the first is {ids[0]}): are they labels of "
            "other transactions?"
        )
    values[has_label] = labels.values[at[has_label]]
    is_known = ~(has_label & (values == UNSURE))
    origins = labels.origins[at[has_label]]
    own_rows = len(ids) - int(has_label.sum())
    facts = {
        **labels.facts,
        "matched": int(has_label.sum()),
        "unmatched": len(labels) - int(has_label.sum()),
        "unsure_left_out": int((~is_known).sum()),
        "changed": 0 if own is None else int((is_known & (values != own)).sum()),
        "by_origin": {name: int((origins == i).sum()) for i, name in enumerate(ORIGINS)},
        "without_label": {
            "isFraud": 0 if own is None else own_rows,
            "assumed_legitimate": own_rows if own is None else 0,
        },
    }
    return is_known, facts
