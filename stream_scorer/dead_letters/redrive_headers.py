"""The headers of a redriven record: the input's own, and where it was redriven from. Pure."""

from __future__ import annotations

from typing import Final

from schemas.framing import Header
from schemas.rejections import Stage
from stream_scorer.dead_letters.dead_letter import DeadLetter
from stream_scorer.dead_letters.repeats import REDRIVEN_STAGE, find_first_copies

ORIGIN_HEADERS: Final = "redrive."
"""``redrive.topic``, ``.partition``, ``.offset``: the dead letter a record was redriven from.
``redrive.stage``: the stage at which it failed, see :mod:`stream_scorer.dead_letters.repeats`."""


def redriven_headers(dead_letter: DeadLetter, dlq_topic: str, input_topic: str) -> list[Header]:
    """The headers of the record to send; they replace those of an earlier redrive.

    The stage says whether an earlier copy of this record is in the histories of the input topic. A
    copy that was accepted once is in there, whatever a later copy failed at. A dead letter of
    another topic is not.
    """
    origin: list[Header] = [
        (ORIGIN_HEADERS + "topic", dlq_topic.encode()),
        (ORIGIN_HEADERS + "partition", str(dead_letter.partition).encode()),
        (ORIGIN_HEADERS + "offset", str(dead_letter.offset).encode()),
    ]
    if dead_letter.errors.get("topic") == input_topic:
        origin += _stage(dead_letter)
    own = [h for h in dead_letter.headers if not h[0].startswith(ORIGIN_HEADERS)]
    return [*own, *origin]


def _stage(dead_letter: DeadLetter) -> list[Header]:
    earlier: list[Header] = [h for h in dead_letter.headers if h[0] == REDRIVEN_STAGE]
    (is_first,) = find_first_copies([earlier])
    if not is_first:
        return earlier[-1:]
    # Others are of no scorer, and of any length.
    is_known = dead_letter.stage in list(Stage)
    return [(REDRIVEN_STAGE, dead_letter.stage.encode())] if is_known else []
