"""How far the redrive of one partition of dead letters is: a position, and what is done beyond.

Both are stored as the committed offset of a consumer group and its metadata text, so that they
change in the same Kafka transaction as the redriven records.
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
_MOST_BITS: Final = 8 * 1024 * 1024  # what damaged metadata may unpack to


@dataclass(frozen=True, slots=True)
class RedriveProgress:
    """What has been redriven of one partition.

    Attributes:
        position: every dead letter before this offset has been.
        beyond: and these offsets after it.
    """

    position: int = 0
    beyond: frozenset[int] = frozenset()

    def has(self, offset: int) -> bool:
        """Whether the dead letter at ``offset`` has been redriven."""
        return offset < self.position or offset in self.beyond

    def after(
        self, redriven: Iterable[int], next_offset: int, first_left: int | None
    ) -> RedriveProgress:
        """Progress once ``redriven`` are done.

        Args:
            redriven: offsets of dead letters.
            next_offset: everything before it was looked at.
            first_left: the first dead letter that was looked at and left; None if none was.
        """
        done = self.beyond | frozenset(redriven)
        position = max(self.position, next_offset if first_left is None else first_left)
        return RedriveProgress(position, frozenset(o for o in done if o >= position))

    def metadata(self) -> str:
        """``beyond`` as text: a compressed bitmap from the position on; empty when it is.

        Raises:
            UsageError: there are too many holes to fit.
        """
        if not self.beyond:
            return ""
        bits = bytearray((max(self.beyond) - self.position) // 8 + 1)
        for offset in self.beyond:
            byte, bit = divmod(offset - self.position, 8)
            bits[byte] |= 1 << bit
        text = _MARK + base64.b64encode(zlib.compress(bytes(bits), 9)).decode()
        if len(text) > METADATA_BYTES:
            raise UsageError(
                f"too many dead letters were left out since offset {self.position} to remember "
                "which: redrive the others first, without a filter or with another"
            )
        return text


def parse_progress(offset: int, metadata: str | None) -> RedriveProgress:
    """Progress from a committed offset (negative: none) and its metadata.

    Raises:
        FatalError: the metadata is not ours; going on could redrive something twice.
    """
    position = max(0, offset)
    if not metadata:
        return RedriveProgress(position)
    if not metadata.startswith(_MARK):
        raise FatalError(f"the redrive group was used by something else: metadata {metadata!r}")
    try:
        packed = base64.b64decode(metadata.removeprefix(_MARK), validate=True)
        bits = zlib.decompressobj().decompress(packed, _MOST_BITS // 8)
    except (binascii.Error, zlib.error) as error:
        raise FatalError(f"the redrive group's metadata is damaged: {error}") from error
    return RedriveProgress(
        position,
        frozenset(
            position + 8 * i + bit
            for i, byte in enumerate(bits)
            for bit in range(8)
            if byte >> bit & 1
        ),
    )
