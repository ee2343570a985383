"""Eras of card histories: what all scorers agree on, in an immutable file.

A history is the fold of the inputs since the beginning of its era. A new era is made on first use,
by an operator, or when inputs are missing; the one with the highest number counts.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.features.history.header import (
    ERA_ID,
    ERA_NUMBER_MAX,
    KEYS_END,
    OFFSETS_END,
    PARTITIONS_MAX,
    SHA256,
    SPEC,
    TIMES_END,
    TOPIC,
    TOPIC_ID,
    SnapshotHeader,
)
from stream_scorer.model.store.history_names import SnapshotName, spec_folder
from stream_scorer.runtime.json_fields import JsonFields, format_time
from stream_scorer.runtime.json_limits import parse_object
from stream_scorer.runtime.text import printable

FORMAT: Final = 1

_NOTE_MAX_CHARACTERS: Final = 500
_WRITER_MAX_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class EraSeed:
    """The records that every partition of an era begins with, each with those of its cards."""

    sha256: str
    as_of: int
    """Inputs up to this ``TransactionDT`` are in the seed, so they do not advance the history."""


@dataclass(frozen=True, slots=True)
class Era:
    """Where the histories of a spec begin, and what bounds them."""

    spec: str
    """The fingerprint of the history features, 64 hexadecimal digits."""
    number: int
    topic: str
    topic_id: str
    """Empty where brokers give topics no id."""
    begin: tuple[int, ...]
    """The first offset of each partition whose input counts."""
    seed: EraSeed | None
    max_keys: int
    """Of each partition and key space."""
    is_cold: bool
    """There is neither a seed nor a past, so scores drift until the time windows have filled, and
    the model guard does not compare them with those of the test rows."""
    why: str
    created: datetime
    has_base: bool = False
    """Each partition begins with its snapshot at ``begin``, which holds records of an earlier era.
    Without that snapshot, or a later one, there is no history."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Which of the eras of this number it is: a process may write snapshots and end before it has
    created the era, and another era may then get the number."""

    @property
    def partition_count(self) -> int:
        """Partitions of the input topic; another count is another era."""
        return len(self.begin)

    def snapshot(self, partition: int, next_offset: int) -> SnapshotName:
        """The name of a partition's state before an offset."""
        return SnapshotName(spec_folder(self.spec), self.number, partition, next_offset)

    def header(
        self,
        partition: int,
        next_offset: int,
        *,
        dead_letter_offset: int,
        check_sum: int,
        writer: str,
        created: datetime,
    ) -> SnapshotHeader:
        """The header of a snapshot of this era."""
        return SnapshotHeader(
            spec=self.spec,
            era=self.number,
            era_id=self.id,
            topic=self.topic,
            topic_id=self.topic_id,
            partition=partition,
            partition_count=self.partition_count,
            next_offset=next_offset,
            dead_letter_offset=dead_letter_offset,
            check_sum=check_sum,
            writer=printable(writer)[:_WRITER_MAX_CHARACTERS],
            created=_whole_seconds(created),
        )

    def check(self, header: SnapshotHeader, partition: int, name: str) -> None:
        """Check that a snapshot is one of this era and of a partition.

        Raises:
            ArtifactCorrupt: it is not; the message says of what it is.
        """
        why = self._other_identity(header) or self._other_place(header, partition)
        if why is not None:
            raise ArtifactCorrupt(
                f"{name} cannot be used: it is {why}; delete it, it does not belong there"
            )

    def _other_identity(self, header: SnapshotHeader) -> str | None:
        if header.spec != self.spec:
            return f"of other history features (spec {header.spec[:16]}, not {self.spec[:16]})"
        if header.topic != self.topic:
            return f"of the topic {header.topic}, not {self.topic}"
        if header.topic_id != self.topic_id:
            return (
                f"of another topic of the name {self.topic} (id {header.topic_id or 'unknown'}, "
                f"not {self.topic_id or 'unknown'}), which was deleted and created again"
            )
        if header.partition_count != self.partition_count:
            count = self.partition_count
            return f"of a topic with {header.partition_count} partitions, not {count}"
        if header.era != self.number:
            return f"of era {header.era}, not {self.number}"
        if header.era_id != self.id:
            return f"of an era {self.number} that was never created, or was deleted"
        return None

    def _other_place(self, header: SnapshotHeader, partition: int) -> str | None:
        if header.partition != partition:
            return f"of partition {header.partition}, not {partition}"
        begin = self.begin[partition]
        if header.next_offset < begin:
            return f"of offset {header.next_offset}, and era {self.number} begins at {begin}"
        return None


def encode_era(era: Era) -> bytes:
    """An era as a file for people and programs.

    Raises:
        ValueError: it could not be read again.
    """
    seed = None if era.seed is None else {"sha256": era.seed.sha256, "as_of": era.seed.as_of}
    members = {
        "format": FORMAT,
        "spec": era.spec,
        "era": era.number,
        "id": era.id,
        "topic": era.topic,
        "topic_id": era.topic_id,
        "partition_count": era.partition_count,
        "begin": list(era.begin),
        "seed": seed,
        "max_keys": era.max_keys,
        "is_cold": era.is_cold,
        "has_base": era.has_base,
        "why": printable(era.why)[:_NOTE_MAX_CHARACTERS],
        "created": format_time(era.created),
    }
    content = json.dumps(members, indent=1).encode() + b"\n"
    _parse(content)
    return content


def decode_era(content: bytes, name: str) -> Era:
    """An era from its file.

    Raises:
        ArtifactCorrupt: it is not an era.
    """
    try:
        return _parse(content)
    except ValueError as error:
        raise ArtifactCorrupt(
            f"{name} cannot be used: {error}; restore it from a backup of the store, or make a new "
            "era with `stream-scorer history build`"
        ) from None


def _parse(content: bytes) -> Era:
    fields = JsonFields(parse_object(content))
    if (version := fields.integer("format", 1, KEYS_END)) != FORMAT:
        raise ValueError(f"it has format {version}, and this release reads format {FORMAT}")
    partition_count = fields.integer("partition_count", 1, PARTITIONS_MAX)
    begin = fields.integers("begin", 0, OFFSETS_END)
    if len(begin) != partition_count:
        raise ValueError(f"begin has {len(begin)} offsets for {partition_count} partitions")
    return Era(
        spec=fields.text("spec", SPEC, "64 hexadecimal digits"),
        number=fields.integer("era", 1, ERA_NUMBER_MAX),
        topic=fields.text("topic", TOPIC, "the name of a topic"),
        topic_id=fields.text("topic_id", TOPIC_ID, "a topic id"),
        begin=begin,
        seed=_parse_seed(fields),
        max_keys=fields.integer("max_keys", 1, KEYS_END),
        is_cold=fields.flag("is_cold"),
        why=fields.note("why", _NOTE_MAX_CHARACTERS),
        created=fields.time("created"),
        has_base=fields.flag("has_base"),
        id=fields.text("id", ERA_ID, "32 hexadecimal digits"),
    )


def _parse_seed(fields: JsonFields) -> EraSeed | None:
    if fields.is_null("seed"):
        return None
    seed = fields.inner("seed")
    return EraSeed(
        seed.text("sha256", SHA256, "64 hexadecimal digits"), seed.integer("as_of", 0, TIMES_END)
    )


def _whole_seconds(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(microsecond=0)
