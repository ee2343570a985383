"""What is wrong with a score by itself: its fields against each other and its version. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.scores.program import DECISIONS
from stream_scorer.audit.records.columns import Mark

_VERSION: Final = re.compile(rb"v[1-9][0-9]{0,8}")  # as the artifact store names versions
_MOST_SHOWN_BYTES: Final = 40  # of a version name that is none
_MOST_VERSIONS: Final = 10_000
"""Names counted one by one; a topic full of random names must not fill the memory."""
_OTHERS: Final = "(others)"

_NEVER: Final = 2.0
"""The largest threshold that makes sense: one above 1 means "never"."""


class Extras(NamedTuple):
    """What scores have beside the decision, bool ``[n]`` each.

    ``is_eligible`` is whether the random lane can have chosen the input, at the largest share.
    """

    has_reasons: NDArray[np.bool_]
    has_context: NDArray[np.bool_]
    is_sampled: NDArray[np.bool_]
    is_eligible: NDArray[np.bool_]


def are_plausible(
    scores: NDArray[np.float64],
    decisions: NDArray[np.int64],
    is_flagged: NDArray[np.int64],
    thresholds: tuple[NDArray[np.float64], NDArray[np.float64]],
    extras: Extras,
) -> NDArray[np.bool_]:
    """Whether scores are probabilities and consistent with their own decision.

    How the decision follows from score and thresholds (review, block) is specified in the schema's
    documentation, as is that only flagged scores have reasons, and only flagged and sampled ones a
    context.
    """
    review, block = thresholds
    expected = (scores >= review).astype(np.int64)
    expected[scores >= block] = DECISIONS.index("BLOCK")
    is_probability = (scores >= 0) & (scores <= 1)  # False for NaN
    is_approved = expected == 0
    is_sampled = extras.is_sampled
    found: NDArray[np.bool_] = (
        is_probability
        & (review >= 0)
        & (review <= block)
        & (block <= _NEVER)
        & (decisions == expected)
        & (is_flagged == ~is_approved)
        & (~is_approved | ~extras.has_reasons)
        & (~is_approved | (extras.has_context == is_sampled))
        & (~is_sampled | (is_approved & extras.is_eligible))
    )
    return found


class VersionBook:
    """The model versions seen so far, and the thresholds of each.

    Args:
        existing: the versions that exist, if that is known.
    """

    def __init__(self, existing: Collection[str] | None = None) -> None:
        self._existing = None if existing is None else {name.encode() for name in existing}
        self._codes: dict[bytes, int] = {}
        self._names: tuple[str, ...] = ()
        self._thresholds: dict[int, tuple[float, float]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names by code."""
        return self._names

    def judge(self, name: bytes, review: float, block: float) -> tuple[int, Mark]:
        """The code of the model version of scores with these thresholds, and what is wrong."""
        is_name = _VERSION.fullmatch(name) is not None
        mark = Mark(0)
        if not is_name or (self._existing is not None and name not in self._existing):
            mark |= Mark.WRONG_VERSION
        code = self._code(name if is_name else name[:_MOST_SHOWN_BYTES])
        if review <= block:  # absurd ones are never the ones to compare with
            known = self._thresholds.setdefault(code, (review, block))
            if is_name and known != (review, block):
                mark |= Mark.OTHER_THRESHOLDS
        return code, mark

    def _code(self, name: bytes) -> int:
        if (known := self._codes.get(name)) is not None:
            return known
        is_full = len(self._codes) >= _MOST_VERSIONS
        if is_full and (known := self._codes.get(_OTHERS.encode())) is not None:
            return known
        text = _OTHERS if is_full else name.decode("utf-8", "backslashreplace")
        code = self._codes[text.encode() if is_full else name] = len(self._names)
        self._names += (text,)
        return code
