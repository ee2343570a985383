"""The names of card histories in the artifact store.

::

    history/0123456789abcdef/eras/000003.json        immutable; the folder is the first 16 digits of
                                                     the fingerprint of the history features
    history/0123456789abcdef/000003/p00007/00000000000123456789.snap
                                                     the state of partition 7 before that offset
    history/seeds/<sha256>.seed                      named by its content
    history/probe/…                                  tries conditional writes; deleted at once
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from stream_scorer.features.history.header import OFFSETS_END, PARTITIONS_MAX, SHA256, SPEC

ROOT: Final = "history/"
SEEDS: Final = "history/seeds/"
PROBE: Final = "history/probe/"

ERA_MAX_BYTES: Final = 1024 * 1024
"""An era names an offset of each partition."""

_SPEC_DIGITS: Final = 16
_SPEC_FOLDER: Final = re.compile(rf"[0-9a-f]{{{_SPEC_DIGITS}}}")
_ERA: Final = re.compile(r"([0-9]{6})\.json")
_SNAPSHOT: Final = re.compile(r"([0-9]{6})/p([0-9]{5})/([0-9]{20})\.snap")


@dataclass(frozen=True, slots=True, order=True)
class SnapshotName:
    """Which state a snapshot is: of one partition in one era, before ``next_offset``."""

    spec_folder: str
    era: int
    partition: int
    next_offset: int

    @property
    def key(self) -> str:
        """The object's key."""
        folder = partition_folder(self.spec_folder, self.era, self.partition)
        return f"{folder}{self.next_offset:020d}.snap"


def spec_folder(spec: str) -> str:
    """The folder of a spec: the first 16 of the 64 hexadecimal digits of its fingerprint.

    Raises:
        ValueError: ``spec`` is neither, so it must not become part of a path either.
    """
    if not SPEC.fullmatch(spec) and not _SPEC_FOLDER.fullmatch(spec):
        raise ValueError(f"not the fingerprint of history features: {spec[:80]!r}")
    return spec[:_SPEC_DIGITS]


def eras_folder(folder: str) -> str:
    """The prefix of a spec's eras."""
    return f"{ROOT}{folder}/eras/"


def era_key(folder: str, number: int) -> str:
    """The key of an era."""
    return f"{eras_folder(folder)}{number:06d}.json"


def era_folder(folder: str, era: int) -> str:
    """The prefix of an era's snapshots."""
    return f"{ROOT}{folder}/{era:06d}/"


def partition_folder(folder: str, era: int, partition: int) -> str:
    """The prefix of a partition's snapshots."""
    return f"{era_folder(folder, era)}p{partition:05d}/"


def seed_key(sha256: str) -> str:
    """The key of a seed.

    Raises:
        ValueError: it is not a digest.
    """
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"not the sha256 of a seed: {sha256[:80]!r}")
    return f"{SEEDS}{sha256}.seed"


def era_number(key: str, folder: str) -> int | None:
    """The number in an era's key; None for any other key."""
    match = _ERA.fullmatch(key.removeprefix(eras_folder(folder)))
    return int(match[1]) if match and int(match[1]) > 0 else None


def snapshot_name(key: str, folder: str) -> SnapshotName | None:
    """The snapshot that a key below a spec's folder names; None for any other key."""
    match = _SNAPSHOT.fullmatch(key.removeprefix(f"{ROOT}{folder}/"))
    if match is None:
        return None
    era, partition, next_offset = map(int, match.groups())
    if era == 0 or partition >= PARTITIONS_MAX or next_offset > OFFSETS_END:
        return None
    return SnapshotName(folder, era, partition, next_offset)


def named_spec(key: str) -> str | None:
    """The spec's folder in a key below ``history/``; None if there is none."""
    folder, separator, _ = key.removeprefix(ROOT).partition("/")
    return folder if separator and _SPEC_FOLDER.fullmatch(folder) else None
