"""The feature set: fitted once, in the trainer, and applied everywhere."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, read_only
from schemas.contracts import AMOUNT, NUMBER_INDEX, TEXT_COLUMNS, TEXT_INDEX
from stream_scorer.features.definition import (
    AMOUNT_BY,
    FREQUENCY_NUMBERS,
    FREQUENCY_PAIRS,
    FREQUENCY_TEXTS,
    feature_fingerprint,
    feature_names,
)
from stream_scorer.features.kernel import build_features
from stream_scorer.features.tables import (
    NumberTables,
    TextTables,
    build_number_tables,
    build_text_tables,
)

DEFAULT_MIN_COUNT: Final = 20
"""A level seen fewer times in training is too rare to learn from: it becomes "other"."""

_OTHER: Final = -1.0  # code of a level that was rare or unseen in training
_MAX_LEVEL_BYTES: Final = 256  # a longer string is never a level; it is "other"
_MAX_LEVELS_BYTES: Final = 64 * 1024 * 1024  # of all columns' levels; tens of thousands are usual
_MAX_ENTRIES: Final = 1_000_000  # of all tables, about 200 bytes each; 100,000 are usual

Levels = dict[str, int]
Counts = dict[str, list[Any]]


class _Tables(NamedTuple):
    texts: TextTables
    frequency_texts: NDArray[np.int64]
    counts: NumberTables
    count_first: NDArray[np.int64]
    count_second: NDArray[np.int64]
    means: NumberTables
    mean_keys: NDArray[np.int64]
    emails: NDArray[np.int64]


class FeatureSet:
    """Fitted features. Immutable; its state is plain lists, dicts, strings and numbers.

    State:
        rows: training rows.
        levels: text column → level → count in training (all levels seen).
        counts: number column or pair ``a|b`` → [first values, second values, counts].
        means: number column → [values, mean amounts].
        min_count: a level seen fewer times than this is "other".
    """

    def __init__(
        self,
        rows: int,
        levels: dict[str, Levels],
        counts: Counts,
        means: Counts,
        min_count: int = DEFAULT_MIN_COUNT,
    ) -> None:
        self.rows = rows
        self.levels = levels
        self.counts = counts
        self.means = means
        self.min_count = min_count

    @classmethod
    def fit(cls, batch: TransactionBatch, min_count: int = DEFAULT_MIN_COUNT) -> FeatureSet:
        """Learn vocabularies, shares and mean amounts from the training rows."""
        numbers = batch.numbers
        levels = {
            name: dict(_count_levels(batch, column).most_common())
            for column, name in enumerate(TEXT_COLUMNS)
        }
        counts: Counts = {}
        for name in FREQUENCY_NUMBERS:
            values, seen = np.unique(_present(numbers[:, NUMBER_INDEX[name]]), return_counts=True)
            counts[name] = [values.tolist(), [0.0] * len(values), seen.tolist()]
        for a, b in FREQUENCY_PAIRS:
            pairs = numbers[:, [NUMBER_INDEX[a], NUMBER_INDEX[b]]] + 0.0
            pairs = pairs[~np.isnan(pairs).any(axis=1)]
            values, seen = np.unique(pairs, axis=0, return_counts=True)
            counts[f"{a}|{b}"] = [values[:, 0].tolist(), values[:, 1].tolist(), seen.tolist()]
        amounts = numbers[:, NUMBER_INDEX[AMOUNT]]
        means: Counts = {}
        for name in AMOUNT_BY:
            keys = numbers[:, NUMBER_INDEX[name]] + 0.0
            known = ~np.isnan(keys)
            values, where, seen = np.unique(keys[known], return_inverse=True, return_counts=True)
            totals = np.bincount(where, amounts[known], minlength=len(values))
            enough = (seen >= min_count) & (totals > 0)
            means[name] = [values[enough].tolist(), (totals / seen)[enough].tolist()]
        return cls(len(batch), levels, counts, means, min_count)

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names in the order of the matrix's columns."""
        return feature_names()

    @property
    def fingerprint(self) -> str:
        """Digest of the feature definition this code applies."""
        return feature_fingerprint()

    def transform(self, batch: TransactionBatch) -> NDArray[np.float64]:
        """The feature matrix, float64 ``[n, len(names)]``, C order.

        A row's features depend only on that row and the fitted state.
        """
        out = np.empty((len(batch), len(feature_names())))
        t = self._tables
        build_features(
            batch.times,
            batch.numbers,
            read_only(batch.text),
            batch.starts,
            batch.lengths,
            t.texts,
            t.frequency_texts,
            t.counts,
            t.count_first,
            t.count_second,
            t.means,
            t.mean_keys,
            NUMBER_INDEX[AMOUNT],
            t.emails,
            out,
        )
        return out

    def level(self, column: str, code: float) -> str | None:
        """The level behind a text column's code; None for "other" and missing."""
        if not code >= 0:
            return None
        return self._vocabularies[column][int(code)]

    def state(self) -> dict[str, Any]:
        """The fitted state as plain data; :meth:`from_state` restores an equal feature set."""
        return {
            "rows": self.rows,
            "levels": self.levels,
            "counts": self.counts,
            "means": self.means,
            "min_count": self.min_count,
        }

    @classmethod
    def from_state(cls, state: Any) -> FeatureSet:
        """The inverse of :meth:`state`; builds the tables at once, so that bad state fails here.

        Raises:
            ValueError: the state is invalid, or its tables would take too much memory.
        """
        try:
            features = cls(**state)
            features.check_size()
            _ = features._tables, features._vocabularies
        except (TypeError, LookupError, ValueError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"not a valid state of a feature set: {error!r}") from error
        return features

    def check_size(self) -> None:
        """Check that a loader would accept this state; a shared dict or list counts each time.

        Raises:
            ValueError: its tables would take too much memory.
        """
        entries = sum(len(levels) for levels in self.levels.values())
        entries += sum(len(column[0]) for column in (*self.counts.values(), *self.means.values()))
        if entries > _MAX_ENTRIES:
            raise ValueError(f"{entries} levels and counts; the limit is {_MAX_ENTRIES}")
        size = sum(sum(map(len, levels)) for levels in self.levels.values())
        if size > _MAX_LEVELS_BYTES:
            raise ValueError(f"levels with {size} characters; the limit is {_MAX_LEVELS_BYTES}")

    @cached_property
    def _vocabularies(self) -> dict[str, list[str]]:
        return {
            name: [level for level, seen in levels.items() if seen >= self.min_count]
            for name, levels in self.levels.items()
        }

    @cached_property
    def _tables(self) -> _Tables:
        names = [*FREQUENCY_NUMBERS, *(f"{a}|{b}" for a, b in FREQUENCY_PAIRS)]
        keys = [name.split("|") for name in names]
        return _Tables(
            build_text_tables([self._coded(name) for name in TEXT_COLUMNS], (_OTHER, 0.0)),
            np.array([TEXT_INDEX[name] for name in FREQUENCY_TEXTS], np.int64),
            build_number_tables([self._shares(name) for name in names], unknown=0.0),
            np.array([NUMBER_INDEX[k[0]] for k in keys], np.int64),
            np.array([NUMBER_INDEX[k[1]] if k[1:] else -1 for k in keys], np.int64),
            build_number_tables([_by_bits(self.means[name]) for name in AMOUNT_BY], unknown=np.nan),
            np.array([NUMBER_INDEX[name] for name in AMOUNT_BY], np.int64),
            np.array([TEXT_INDEX["P_emaildomain"], TEXT_INDEX["R_emaildomain"]], np.int64),
        )

    def _coded(self, name: str) -> dict[str, tuple[float, float]]:
        codes = {level: float(i) for i, level in enumerate(self._vocabularies[name])}
        return {
            level: (codes.get(level, _OTHER), seen / self.rows)
            for level, seen in self.levels[name].items()
        }

    def _shares(
        self, name: str
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]:
        first, second, seen = self.counts[name]
        return _words(first), _words(second, len(first)), _column(seen, len(first)) / self.rows


def _column(values: Any, length: int | None = None) -> NDArray[np.float64]:
    """One column of a table. Its length is checked here: the compiled loops check no bounds."""
    column = np.array(values, np.float64)
    if column.ndim != 1 or length not in (None, len(column)):
        raise ValueError("the columns of a table differ in length")
    return column


def _words(values: Any, length: int | None = None) -> NDArray[np.uint64]:
    return _column(values, length).view(np.uint64)


def _by_bits(
    mapping: list[Any],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.float64]]:
    keys = _words(mapping[0])
    return keys, np.zeros(len(keys), np.uint64), _column(mapping[1], len(keys))


def _present(column: NDArray[np.float64]) -> NDArray[np.float64]:
    # Adding 0.0 turns -0.0 into 0.0, so that equal numbers have equal bits.
    return column[~np.isnan(column)] + 0.0


def _count_levels(batch: TransactionBatch, column: int) -> Counter[str]:
    text = memoryview(np.ascontiguousarray(batch.text).data)
    seen: Counter[bytes] = Counter()
    pairs = zip(batch.starts[:, column].tolist(), batch.lengths[:, column].tolist(), strict=True)
    seen.update(bytes(text[a : a + n]) for a, n in pairs if 0 <= n <= _MAX_LEVEL_BYTES)
    # Ties in the count are broken by the level itself, so that fitting is deterministic.
    return Counter(dict(sorted((k.decode("utf-8"), v) for k, v in seen.items())))
