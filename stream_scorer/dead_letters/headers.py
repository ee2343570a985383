"""The headers of a dead letter, written by the scorer and read by audit and redrive."""

from __future__ import annotations

from typing import Final

from schemas.framing import Header, Headers
from schemas.rejections import ERROR_HEADERS, Rejection, Stage
from stream_scorer.runtime.text import as_bytes, as_text


def error_headers(headers: Headers) -> dict[str, str]:
    """A dead letter's ``__connect.errors.*`` headers without that prefix.

    If a name is repeated, the last header counts: earlier ones came with the input.
    """
    return {
        name.removeprefix(ERROR_HEADERS): as_text(value)
        for name, value in headers or ()
        if name.startswith(ERROR_HEADERS)
    }


_REASON_CHARS: Final = 500

_ERROR_CLASSES: Final = {
    Stage.FRAMING: "FramingError",
    Stage.SCHEMA: "UnknownSchema",
    Stage.DECODE: "DecodeError",
    Stage.VALIDATE: "ValidationError",
    Stage.SCORE: "ScoreError",
    Stage.PUBLISH: "RecordTooLarge",
}


def dead_letter_headers(
    topic: str, partition: int, offset: int, rejection: Rejection, error_class: str | None = None
) -> list[Header]:
    """The headers in the format of Kafka Connect (KIP-298); numbers as decimal text."""
    start = ERROR_HEADERS
    return [
        (start + "topic", topic.encode()),
        (start + "partition", str(partition).encode()),
        (start + "offset", str(offset).encode()),
        (start + "stage", rejection.stage.value.encode()),
        (
            start + "exception.class.name",
            (error_class or _ERROR_CLASSES[rejection.stage]).encode(),
        ),
        (start + "exception.message", as_bytes(rejection.reason[:_REASON_CHARS])),
    ]
