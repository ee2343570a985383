"""The list of features, and how each is computed from a transaction's columns.

Kinds of features, in the order of the matrix:

* every number column unchanged (identifiers of the event, such as the time offset, are not
  features);
* every text column as a code from the training vocabulary: 0 for the most frequent level, 1 for
  the next, and so on; -1 for a level that was rare or unseen in training, NaN for missing;
* frequency encodings of high-cardinality columns and pairs: the share of training rows with
  the same value; 0 for unseen, NaN for missing;
* features derived from the amount and the time. All of them are exact in IEEE-754 arithmetic, so
  every machine and every code path computes the same value.

Trees do not change under a monotone transform of a feature, so there is no logarithm here.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Final

from schemas.contracts import AMOUNT, NUMBER_COLUMNS, TEXT_COLUMNS

FEATURES_VERSION: Final = 1
"""Increase this whenever the value behind a feature name changes."""

FREQUENCY_NUMBERS: Final = ("card1", "card2", "card3", "card5", "addr1", "addr2")
FREQUENCY_TEXTS: Final = (
    "P_emaildomain",
    "R_emaildomain",
    "DeviceInfo",
    "id_30",
    "id_31",
    "id_33",
)
FREQUENCY_PAIRS: Final = (("card1", "addr1"), ("card1", "card5"), ("card2", "addr1"))
AMOUNT_BY: Final = ("card1", "addr1")
"""The keys of mean amounts: an amount is compared with the training rows' mean for its key."""

DERIVED: Final = (
    "amount_cents",
    "amount_has_fraction_of_cent",
    "hour",
    "weekday",
    "email_domains_equal",
    "missing_count",
)


@cache
def feature_names() -> tuple[str, ...]:
    """The feature names, in the order of the matrix's columns."""
    return (
        *NUMBER_COLUMNS,
        *TEXT_COLUMNS,
        *(f"{name}_frequency" for name in (*FREQUENCY_NUMBERS, *FREQUENCY_TEXTS)),
        *(f"{a}_{b}_frequency" for a, b in FREQUENCY_PAIRS),
        *(f"{AMOUNT}_to_{name}_mean" for name in AMOUNT_BY),
        *DERIVED,
    )


@cache
def feature_fingerprint() -> str:
    """Digest of names, order and meaning; a bundle built for another digest is refused."""
    text = json.dumps([FEATURES_VERSION, feature_names()])
    return hashlib.sha256(text.encode()).hexdigest()
