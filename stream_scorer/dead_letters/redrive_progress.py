"""The progress of a redrive in one partition: a position, and the dead letters done after it.

They are stored as the committed offset of a consumer group and its metadata, so that they change in
the same Kafka transaction as the redriven records.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stream_scorer.errors import FatalError, UsageError

METADATA_BYTES: Final = 4096
"""Kafka's default ``offset.metadata.max.bytes``."""

_MARK: Final = "redriven:"
_SINCE: Final = "since:"
_MAX_BITS: Final = 8 * 1024 * 1024  # a bitmap of 1 MiB; limits what damaged metadata can unpack to


@dataclass(frozen=True, slots=True)
class RedriveProgress:
    """Which dead letters of one partition have been redriven.

    Attributes:
        position: all dead letters before this offset.
        beyond: the dead letters at these offsets after it.
        known_since: it is unknown whether other dead letters from before this time (epoch
            milliseconds) were redriven, because Kafka may have deleted the progress.
    """

    position: int = 0
    beyond: frozenset[int] = frozenset()
    known_since: int = 0

    def has(self, offset: int) -> bool:
        """Whether the dead letter at ``offset`` has been redriven."""
        return offset < self.position or offset in self.beyond

    def after(
        self, redriven: Iterable[int], next_offset: int, first_left: int | None
    ) -> RedriveProgress:
        """The progress after redriving some dead letters.

        Args:
            redriven: their offsets.
            next_offset: everything before this offset was read.
            first_left: offset of the first dead letter that was read but not redriven; None if
                there is none.
        """
        done = self.beyond | frozenset(redriven)
        position = max(self.position, next_offset if first_left is None else first_left)
        return RedriveProgress(
            position, frozenset(o for o in done if o >= position), self.known_since
        )

    def metadata(self) -> str:
        """Everything except the position as text; empty if there is nothing else.

        The format is ``since:<known_since>;redriven:<beyond>``; each part is optional. ``beyond``
        is a compressed bitmap that starts at the position.

        Raises:
            UsageError: the bitmap has too many gaps to fit, or is too long.
        """
        since = f"{_SINCE}{self.known_since}" if self.known_since else ""
        if not self.beyond:
            return since
        size = max(self.beyond) - self.position + 1
        if size > _MAX_BITS:
            raise self._too_much()
        bits = bytearray(-(-size // 8))
        for offset in self.beyond:
            byte, bit = divmod(offset - self.position, 8)
            bits[byte] |= 1 << bit
        done = _MARK + base64.b64encode(zlib.compress(bytes(bits), 9)).decode()
        text = f"{since};{done}" if since else done
        if len(text) > METADATA_BYTES:
            raise self._too_much()
        return text

    def _too_much(self) -> UsageError:
        return UsageError(
            f"too many dead letters were left out since offset {self.position} to store which: "
            "redrive them first, without a filter or with another one (and with --again, if they "
            "are too old to know whether they were redriven before)"
        )


def parse_progress(offset: int, metadata: str | None) -> RedriveProgress:
    """The progress from a committed offset (negative: none) and its metadata.

    Raises:
        FatalError: the metadata has another format; continuing could redrive a dead letter twice.
    """
    position = max(0, offset)
    if not metadata:
        return RedriveProgress(position)
    beyond, known_since = frozenset[int](), 0
    for part in metadata.split(";"):
        name, colon, content = part.partition(":")
        if name + colon == _MARK:
            beyond = _unpack(position, content)
        elif name + colon == _SINCE and content.isascii() and content.isdecimal():
            known_since = int(content)
        else:
            raise FatalError(
                f"the redrive group was used by another program: metadata {metadata!r}"
            )
    return RedriveProgress(position, beyond, known_since)


def _unpack(position: int, text: str) -> frozenset[int]:
    most, unpacker = _MAX_BITS // 8, zlib.decompressobj()
    try:
        bits = unpacker.decompress(base64.b64decode(text, validate=True), most + 1)
    except (binascii.Error, zlib.error) as error:
        raise FatalError(f"the redrive group's metadata is damaged: {error}") from error
    if len(bits) > most or not unpacker.eof:
        raise FatalError("the redrive group's metadata is damaged: too long or truncated")
    return frozenset(
        position + 8 * i + bit for i, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1
    )
