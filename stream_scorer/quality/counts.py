"""Counts all scores of each model version, and keeps those that have a label. Pure.

Memory does not grow with the number of scores: they are counted in bins. A bin is a range of the
leading bits of the double, so that its width is at most 1/2048 of the score. Only scores with a
label are kept as they are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from stream_scorer.labels.labels import UNSURE
from stream_scorer.quality.rows import (
    APPROVE,
    BLOCK,
    Flags,
    Floats,
    Integers,
    LabelledRows,
    LabelTable,
    ScoreRows,
    join_labelled,
)

MAX_VERSIONS: Final = 64
"""A version costs a megabyte. A topic of random version names must not fill the memory."""

MAX_PRODUCTS: Final = 50
OTHERS: Final = "(others)"

_SHIFT: Final = 41  # 11 bits of the significand are kept
_LOWEST: Final = int(np.float64(2.0**-24).view(np.int64)) >> _SHIFT
BINS: Final = (int(np.float64(1.0).view(np.int64)) >> _SHIFT) - _LOWEST + 1
"""24 powers of two with 2048 bins each. The first bin also has everything below 2^-24."""


def bins_of(scores: Floats) -> Integers:
    """The bin of each score from 0 to 1; bins are ordered as scores are."""
    bits = np.ascontiguousarray(scores + 0.0).view(np.int64) >> _SHIFT  # + 0.0: no negative zero
    found: Integers = np.clip(bits - _LOWEST, 0, BINS - 1)
    return found


@dataclass(slots=True)
class VersionCounts:
    """What is known of one model version.

    Attributes:
        decisions: scores by decision, ``[3]``.
        mature: the same, of the mature ones.
        known: mature scores by decision that something is known of: see ``judged``.
        judged: mature scores in each bin, without those that nothing is known of: a person could
            not decide, or they were blocked and have no label. A payment that was stopped is never
            reported.
        sums: sum of the scores in each bin of ``judged``.
        sampled: scores in the random lane.
        first: when the first score was written, epoch milliseconds.
        last: when the last one was.
        products: product → flagged, blocked, judged and flagged, judged and blocked.
    """

    decisions: Integers = field(default_factory=lambda: np.zeros(3, np.int64))
    mature: Integers = field(default_factory=lambda: np.zeros(3, np.int64))
    known: Integers = field(default_factory=lambda: np.zeros(3, np.int64))
    judged: Integers = field(default_factory=lambda: np.zeros(BINS, np.int64))
    sums: Floats = field(default_factory=lambda: np.zeros(BINS))
    sampled: int = 0
    first: int = 2**62
    last: int = -1
    products: dict[str, Integers] = field(default_factory=dict)
    _labelled: list[LabelledRows] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All scores."""
        return int(self.decisions.sum())

    @property
    def labelled(self) -> LabelledRows:
        """The scores that have a label."""
        if len(self._labelled) != 1:
            self._labelled = [join_labelled(self._labelled)]
        return self._labelled[0]

    def keep(self, rows: LabelledRows) -> None:
        """Keep rows that have a label."""
        self._labelled.append(rows)
        if len(self._labelled) > _MAX_PARTS:
            self._labelled = [join_labelled(self._labelled)]


_MAX_PARTS: Final = 500


class QualityCounts:
    """Counts scores and joins them with labels, batch by batch.

    Args:
        labels: of all transactions. Those decided later than ``now`` are left out and counted.
        since: earlier scores are left out, epoch milliseconds.
        mature_until: scores before this are old enough for reports to have come in.
        now: the time of the run, epoch milliseconds.
    """

    def __init__(self, labels: LabelTable, since: int, mature_until: int, now: int) -> None:
        is_future = labels.decided_at > now
        self.labels = labels.take(~is_future) if is_future.any() else labels
        self.since, self.mature_until, self.now = since, mature_until, now
        self.versions: dict[str, VersionCounts] = {}
        self.problems: Counter[str] = Counter()
        self.product_names: list[str] = []
        self._used = np.zeros(len(self.labels), np.int64)
        if is_future.any():
            self.problems["labels_from_the_future"] = int(is_future.sum())
        if labels.bad_records:
            self.problems["bad_label_records"] = labels.bad_records
        if conflicting := int(self.labels.is_conflicting.sum()):
            self.problems["conflicting_labels"] = conflicting

    def add(self, rows: ScoreRows) -> None:
        """Count scores; those outside the window are left out."""
        is_inside = (rows.times >= self.since) & (rows.times <= self.now)
        if not is_inside.all():
            self.problems["scores_from_the_future"] += int((rows.times > self.now).sum())
            rows = rows.take(is_inside)
        if not len(rows.times):
            return
        at = self.labels.find(rows)
        np.add.at(self._used, at[at >= 0], 1)
        products = self._product_codes(rows)
        for code in np.unique(rows.versions).tolist():
            mask = rows.versions == code
            counts = self._version(rows.version_names[code])
            if mask.all():
                self._count(counts, rows, at, products)
            else:
                self._count(counts, rows.take(mask), at[mask], products[mask])

    def product_code(self, name: str) -> int:
        """The code of a product: its position in ``product_names``."""
        if name not in self.product_names and len(self.product_names) >= MAX_PRODUCTS:
            name = OTHERS
        if name not in self.product_names:
            self.product_names.append(name)
        return self.product_names.index(name)

    def finish(self) -> Counter[str]:
        """The problems found, with those that are known only at the end."""
        found = Counter(self.problems)
        if twice := int((self._used > 1).sum()):
            found["labels_of_several_scores"] = twice
        if unknown := int((self._used == 0).sum()):
            found["labels_of_unknown_transactions"] = unknown
        return Counter({name: n for name, n in found.items() if n})

    def _count(
        self, counts: VersionCounts, rows: ScoreRows, at: Integers, products: NDArray[np.int16]
    ) -> None:
        decisions, has_label = rows.decisions, at >= 0
        is_mature = rows.times < self.mature_until
        counts.decisions += np.bincount(decisions, minlength=3)[:3]
        counts.mature += np.bincount(decisions[is_mature], minlength=3)[:3]
        counts.sampled += int(rows.is_sampled.sum())
        counts.first = min(counts.first, int(rows.times.min()))
        counts.last = max(counts.last, int(rows.times.max()))
        is_judged = is_mature & ((decisions != BLOCK) | has_label)
        if has_label.any():
            is_judged[has_label] &= self.labels.standing[at[has_label]] != UNSURE
            counts.keep(self._labelled(rows, at, is_mature, products, np.flatnonzero(has_label)))
        if is_judged.any():
            counts.known += np.bincount(decisions[is_judged], minlength=3)[:3]
            scores = rows.scores[is_judged]
            bins = bins_of(scores)
            counts.judged += np.bincount(bins, minlength=BINS)
            counts.sums += np.bincount(bins, scores, minlength=BINS)
        self._count_products(counts, decisions, products, is_judged)

    def _labelled(
        self,
        rows: ScoreRows,
        at: Integers,
        is_mature: Flags,
        products: NDArray[np.int16],
        taken: Integers,
    ) -> LabelledRows:
        labels, at = self.labels, at[taken]
        return LabelledRows(
            rows.scores[taken], rows.decisions[taken],
            labels.standing[at], labels.analyst[at], labels.report[at],
            is_mature[taken], rows.is_sampled[taken], rows.shares[taken], rows.amounts[taken],
            products[taken], rows.partitions[taken], rows.offsets[taken],
        )  # fmt: skip

    def _count_products(
        self,
        counts: VersionCounts,
        decisions: NDArray[np.int8],
        products: NDArray[np.int16],
        is_judged: Flags,
    ) -> None:
        """Unflagged scores do not state their product, so only flagged ones are counted."""
        flagged = np.flatnonzero((decisions != APPROVE) & (products >= 0))
        for code in np.unique(products[flagged]).tolist():
            rows = flagged[products[flagged] == code]
            is_block, judged = decisions[rows] == BLOCK, is_judged[rows]
            found = (len(rows), is_block.sum(), judged.sum(), (is_block & judged).sum())
            name = self.product_names[code]
            counts.products.setdefault(name, np.zeros(4, np.int64))
            counts.products[name] += np.array(found, np.int64)

    def _version(self, name: str) -> VersionCounts:
        if name not in self.versions and len(self.versions) >= MAX_VERSIONS:
            name = OTHERS
        return self.versions.setdefault(name, VersionCounts())

    def _product_codes(self, rows: ScoreRows) -> NDArray[np.int16]:
        """The products of a batch under the codes of all batches."""
        codes = map(self.product_code, rows.product_names)
        table = np.array([*codes, -1], np.int16)  # the last one is for -1
        found: NDArray[np.int16] = table[rows.products]
        return found
