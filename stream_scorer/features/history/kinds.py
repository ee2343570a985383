"""The kinds of history features: their numbers for the compiled loop, their names and their words.

A kind's meaning never changes: a change of meaning is a new ``HISTORY_VERSION``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

COUNT: Final = 0
AGE: Final = 1
GAP: Final = 2
GAP_BEFORE: Final = 3
GAP_RATIO: Final = 4
MEAN_AMOUNT: Final = 5
AMOUNT_RATIO: Final = 6
AMOUNT_Z: Final = 7
MAX_RATIO: Final = 8
SAME_AMOUNT: Final = 9
SAME_AMOUNT_SHARE: Final = 10
COUNT_IN: Final = 11
AMOUNT_IN: Final = 12
DECAYED_COUNT: Final = 13
DECAYED_AMOUNT: Final = 14
MEAN: Final = 15
MINUS_MEAN: Final = 16
MINUS_LAST: Final = 17
DISTINCT: Final = 18
IS_NEW: Final = 19

MOVES_CLOCK: Final = 1
"""Among the flags of a row: it advances the state, and has a card and a time."""
HAS_KEY: Final = 2
"""It has a key in the first space; twice that in the second, and so on."""

MAX_COUNT: Final = 64
"""``count`` stops here: a count since the stream began would drift for ever."""

MAX_AGE_DAYS: Final = 90
"""``age`` stops here, for the same reason."""


class Takes(Enum):
    """What a feature is given."""

    NOTHING = "nothing"
    SECONDS = "seconds"
    NUMBERS = "number columns"
    ANY_COLUMNS = "columns"


@dataclass(frozen=True, slots=True)
class FeatureKind:
    """One kind of feature.

    Attributes:
        number: what the compiled loop knows it by.
        takes: what it is given.
        name: of the feature; ``{0}`` is the column or the time span.
        text: the feature in words; ``{0}`` likewise.
        needs_ring: whether it reads the remembered events.
    """

    number: int
    takes: Takes
    name: str
    text: str
    needs_ring: bool = False


KINDS: Final = {
    "count": FeatureKind(COUNT, Takes.NOTHING, "count", f"earlier transactions, up to {MAX_COUNT}"),
    "age": FeatureKind(
        AGE, Takes.NOTHING, "age_seconds", f"seconds since the first one, up to {MAX_AGE_DAYS} days"
    ),
    "gap": FeatureKind(GAP, Takes.NOTHING, "gap_seconds", "seconds since the last transaction"),
    "gap_before": FeatureKind(
        GAP_BEFORE,
        Takes.NOTHING,
        "gap_before_seconds",
        "seconds since the transaction before the last",
        needs_ring=True,
    ),
    "gap_ratio": FeatureKind(
        GAP_RATIO,
        Takes.NOTHING,
        "gap_ratio",
        "time since the last transaction, divided by the mean time between transactions",
    ),
    "mean_amount": FeatureKind(
        MEAN_AMOUNT, Takes.NOTHING, "mean_amount", "mean amount of earlier transactions"
    ),
    "amount_ratio": FeatureKind(
        AMOUNT_RATIO, Takes.NOTHING, "amount_ratio", "amount, divided by the mean of earlier ones"
    ),
    "amount_z": FeatureKind(
        AMOUNT_Z,
        Takes.NOTHING,
        "amount_z",
        "amount minus the mean of earlier ones, in standard deviations",
    ),
    "max_ratio": FeatureKind(
        MAX_RATIO, Takes.NOTHING, "max_ratio", "amount, divided by the largest earlier one"
    ),
    "same_amount": FeatureKind(
        SAME_AMOUNT,
        Takes.NOTHING,
        "same_amount",
        "remembered transactions with the same amount",
        needs_ring=True,
    ),
    "same_amount_share": FeatureKind(
        SAME_AMOUNT_SHARE,
        Takes.NOTHING,
        "same_amount_share",
        "share of the remembered transactions with the same amount",
        needs_ring=True,
    ),
    "count_in": FeatureKind(
        COUNT_IN,
        Takes.SECONDS,
        "count_{0}",
        "remembered transactions in the last {0}",
        needs_ring=True,
    ),
    "amount_in": FeatureKind(
        AMOUNT_IN,
        Takes.SECONDS,
        "amount_{0}",
        "sum of the remembered amounts in the last {0}",
        needs_ring=True,
    ),
    "decayed_count": FeatureKind(
        DECAYED_COUNT,
        Takes.SECONDS,
        "count_decayed_{0}",
        "earlier transactions, each counting half as much after {0}",
    ),
    "decayed_amount": FeatureKind(
        DECAYED_AMOUNT,
        Takes.SECONDS,
        "amount_decayed_{0}",
        "sum of earlier amounts, each counting half as much after {0}",
    ),
    "mean": FeatureKind(MEAN, Takes.NUMBERS, "{0}_mean", "mean of earlier values of {0}"),
    "minus_mean": FeatureKind(
        MINUS_MEAN, Takes.NUMBERS, "{0}_minus_mean", "{0} minus the mean of its earlier values"
    ),
    "minus_last": FeatureKind(
        MINUS_LAST, Takes.NUMBERS, "{0}_minus_last", "{0} minus its last earlier value"
    ),
    "distinct": FeatureKind(
        DISTINCT,
        Takes.ANY_COLUMNS,
        "{0}_distinct",
        "different earlier values of {0}, up to four",
    ),
    "is_new": FeatureKind(
        IS_NEW, Takes.ANY_COLUMNS, "{0}_is_new", "whether {0} is not among its earlier values"
    ),
}


def span_name(seconds: int) -> str:
    """A time span in a feature's name: ``1h``, ``7d``, ``90s``."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
