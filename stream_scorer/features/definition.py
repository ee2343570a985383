"""Which features there are, and how each is made from a transaction's columns.

Kinds of features, in the order of the matrix:

* every number column as it is (identifiers of the event such as the time offset are none);
* every text column as a code by the training vocabulary: 0 for the most frequent level on,
  -1 for a level that was rare or unseen in training, NaN for missing;
* frequency encodings of high-cardinality columns and pairs: the share of training rows with
  the same value; 0 for unseen, NaN for missing;
* derived from the amount and the time; all of them exact in IEEE-754 arithmetic, so that no
  machine and no path computes another value.

Trees do not change under a monotone transform of a feature, so there is no logarithm here.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Final

from schemas.contracts import AMOUNT, NUMBER_COLUMNS, TEXT_COLUMNS

FEATURES_VERSION: Final = 1
"""Raised whenever the same name starts to mean another value."""

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
"""Keys by which an amount is compared with the mean amount of the training rows."""

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
    """Names of the features, in the order of the matrix's columns."""
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
    """Digest of names, order and meaning; a bundle made for another one is refused."""
    text = json.dumps([FEATURES_VERSION, feature_names()])
    return hashlib.sha256(text.encode()).hexdigest()
