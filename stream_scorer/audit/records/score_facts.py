"""What one decoded score states about its input and itself. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from schemas.batch import NO_EVENT_TIME
from schemas.records import UndecodableRecord
from schemas.scores.program import DECISIONS
from schemas.scores.sampling import MAX_SHARE, choose
from stream_scorer.audit.records.columns import EARLIEST_TIME, NOT_STATED, Mark
from stream_scorer.audit.records.results import NO_DECISION, UNREAD, StatedResult, hash_reasons
from stream_scorer.audit.records.score_checks import Extras, are_plausible

_LARGEST: Final = 2**63 - 1  # of an Avro long; the reference decoder reads larger ones too
_NAN: Final = float("nan")
_NOTHING: Final = StatedResult(_NAN, _NAN, _NAN, NO_DECISION, UNREAD)


class SourceCoordinates(NamedTuple):
    """The coordinates of an outcome's input, as the outcome states them."""

    topic: str
    partition: int
    offset: int


class ScoreFacts(NamedTuple):
    """What one score states about its input and itself."""

    source: SourceCoordinates
    version: str
    transaction: int
    event_time: int
    marks: Mark
    result: StatedResult


def facts_of(score: Any, *, has_more: bool) -> ScoreFacts:
    """What a decoded score states; anything may be raised if it is not one."""
    source = score["source"]
    place = SourceCoordinates(
        str(source["topic"]), _as_long(source["partition"]), _as_long(source["offset"])
    )
    transaction = _as_long(score.get("transaction_id", 0))
    stated = score.get("event_time", NOT_STATED)
    event_time = NO_EVENT_TIME if stated is None else _as_long(stated)
    if stated is not None and "event_time" in score:
        event_time = max(event_time, EARLIEST_TIME)
    names = ("score", "decision", "is_flagged", "review_threshold", "block_threshold")
    result = _NOTHING
    marks = Mark.TRAILING if has_more else Mark(0)
    is_plausible = False
    if {"transaction_id", *names} <= score.keys() and score["decision"] in DECISIONS:
        value, decision, is_flagged, review, block = (score[name] for name in names)
        code = DECISIONS.index(decision)
        result = StatedResult(
            float(value), float(review), float(block), code, _reasons(score.get("reasons"))
        )
        found = are_plausible(
            np.array([value], np.float64),
            np.array([code], np.int64),
            np.array([is_flagged], np.int64),
            (np.array([review], np.float64), np.array([block], np.float64)),
            Extras(
                np.array([bool(score.get("reasons"))]),
                np.array([score.get("context") is not None]),
                np.array([bool(score.get("is_sampled"))]),
                choose(
                    place.topic, np.array([place.partition]), np.array([place.offset]), MAX_SHARE
                ),
            ),
        )
        is_plausible = bool(found[0])
    marks |= Mark(0) if is_plausible else Mark.IMPLAUSIBLE
    return ScoreFacts(place, str(score["model_version"]), transaction, event_time, marks, result)


def _reasons(reasons: Any) -> int:
    """The hash of reasons; ``UNREAD`` if they are not laid out as ours."""
    try:
        return hash_reasons(
            (reason["feature"], reason["value"], reason["contribution"]) for reason in reasons or ()
        )
    except Exception:  # the writer's schema decides what they are
        return UNREAD


def _as_long(number: Any) -> int:
    found = int(number)
    if not -_LARGEST - 1 <= found <= _LARGEST:
        raise UndecodableRecord(f"{found} is no 64-bit number")
    return found
