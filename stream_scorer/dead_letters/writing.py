"""Builds dead letters: the record of the dead letter topic for a rejected input. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.framing import Header, Headers
from schemas.rejections import CUT_HEADER, OMITTED_HEADER, Rejection
from stream_scorer.dead_letters.headers import dead_letter_headers
from stream_scorer.kafka.sizes import headers_size

_CUT_BYTES: Final = 64  # for the header that says so


@dataclass(frozen=True, slots=True)
class RejectedInput:
    """An input that gets a dead letter.

    Attributes:
        topic: the input topic.
        partition: its partition.
        offset: its offset.
        key: its key.
        value: its value.
        headers: its headers.
        omitted: why its headers are not known; None if they are.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = None
    omitted: str | None = None


def build_dead_letter(
    rejected: RejectedInput, rejection: Rejection, limit: int, error_class: str | None = None
) -> tuple[bytes | None, bytes | None, list[Header]]:
    """Key, value and headers of a dead letter.

    What does not fit is left out, and a header says so: first the input's headers, then the key,
    then the end of the value.

    Args:
        rejected: the input.
        rejection: why it was rejected.
        limit: bytes of key, value and headers that fit into one record.
        error_class: instead of the stage's own.
    """
    key, value, omitted = rejected.key, rejected.value, rejected.omitted
    own = dead_letter_headers(
        rejected.topic, rejected.partition, rejected.offset, rejection, error_class
    )
    if omitted is not None:
        own.append(_omitted(omitted))
    headers: list[Header] = [*(rejected.headers or []), *own]
    room = limit - headers_size(headers) - len(key or b"")
    if room < 0:  # headers of megabytes: keep the source coordinates and drop them
        headers = own if omitted is not None else [*own, _omitted("they are too large")]
        room = limit - headers_size(headers)
        key = None if key and len(key) > room else key
        room -= len(key or b"")
    if value is not None and len(value) > room:
        headers.append((CUT_HEADER, str(len(value)).encode()))
        value = value[: max(0, room - _CUT_BYTES)]
    return key, value, headers


def _omitted(reason: str) -> Header:
    return OMITTED_HEADER, reason.encode("utf-8", "backslashreplace")
