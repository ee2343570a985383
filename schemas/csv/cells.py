"""What a cell of a CSV means: one rule for all columns, in training and in the stream.

Blanks around a value are ignored. An empty cell and the usual words for a missing value, in any
case, mean missing; spreadsheets, SQL exports and pandas write them.
"""

from __future__ import annotations

import itertools
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

MISSING_WORDS: Final = ("", "na", "n/a", "nan", "none", "null", "<na>")
_BLANKS: Final = ("", " ", "  ")


def _all_cases(word: str) -> list[str]:
    return ["".join(c) for c in itertools.product(*({c, c.upper()} for c in word))]


NULL_VALUES: Final = sorted(
    {
        before + spelt + after
        for word in MISSING_WORDS
        for spelt in _all_cases(word)
        for before, after in itertools.product(_BLANKS, _BLANKS)
    }
)
"""The words as Arrow needs them for numbers: in every case, with the blanks that may be around."""

_WORDS: Final = pa.array(MISSING_WORDS)
_WHOLE: Final = r"^(-?[0-9]+)\.0*$|^\+([0-9]+)(?:\.0*)?$"
"""A whole number with a sign, or with a fraction of zeros, as pandas writes a joined column."""


def clean_text(column: Any) -> Any:
    """A text column without blanks around its values, null where a value is missing."""
    trimmed = pc.utf8_trim_whitespace(column)
    is_missing = pc.is_in(pc.utf8_lower(trimmed), value_set=_WORDS)
    return pc.if_else(is_missing, pa.scalar(None, pa.string()), trimmed)


def to_wholes(column: Any) -> Any:
    """A text column as 64-bit integers; ``2987000.0`` is one.

    Raises:
        ArrowInvalid: a value is not a whole number.
    """
    whole = pc.replace_substring_regex(clean_text(column), _WHOLE, r"\1\2")
    if pc.all(pc.match_substring_regex(whole, "^-?[0-9]+$")).as_py() is False:  # Arrow reads 0x10
        raise pa.ArrowInvalid("not a whole number")
    return pc.cast(whole, pa.int64())


def first_unreadable(column: Any, convert: Any) -> tuple[int, Any]:
    """The first row, and its value, that ``convert`` refuses; it must refuse one."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column.slice(low, middle - low))
        except pa.ArrowInvalid:
            high = middle
        else:
            low = middle
    return low, column[low].as_py()
