"""Card histories in the artifact store: eras, snapshots of partitions, and seeds."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from stream_scorer.errors import ArtifactCorrupt, StoreError
from stream_scorer.features.history.codec import (
    Seed,
    SeedFacts,
    Snapshot,
    SnapshotFacts,
    decode_snapshot,
    read_facts,
)
from stream_scorer.features.history.header import HEADER_MAX_BYTES, Body
from stream_scorer.model.store import history_seeds
from stream_scorer.model.store.conditions import find_ignored_condition
from stream_scorer.model.store.history_era import Era, decode_era, encode_era
from stream_scorer.model.store.history_names import (
    ERA_MAX_BYTES,
    PROBE,
    ROOT,
    SnapshotName,
    era_folder,
    era_key,
    era_number,
    eras_folder,
    named_spec,
    partition_folder,
    snapshot_name,
    spec_folder,
)
from stream_scorer.model.store.history_pruning import Dated, find_expired, is_expired
from stream_scorer.model.store.objects import Objects, StoredObject

log = logging.getLogger(__name__)

CREATE_ATTEMPTS: Final = 3
"""A snapshot that exists may be deleted, by this process or another; then it is written again."""

REMEMBERED_MAX: Final = 20_000
"""Snapshots whose age is remembered, so that pruning reads each header once."""

Written = Literal["created", "same", "different"]
"""What became of a snapshot: ``same``, one of the same state was there; ``different``, one of
another state was there, and stays. Two processes then computed different histories from the same
inputs, which must not happen."""


class HistoryStore:
    """Eras, snapshots and seeds below ``history/``; what is intact is never changed.

    Sizes: a snapshot or seed has at most 2 GiB of records, unpacked, and is read and written in one
    piece. On S3 it must arrive within five minutes.

    Every method raises StoreError if the storage cannot be reached or refuses the request. Unless
    ``is_trusted``, conditional writes are tried before the first one, below ``history/probe/``.
    """

    def __init__(self, objects: Objects, *, is_trusted: bool = False) -> None:
        self._objects = objects
        self._is_tried = is_trusted
        self._eras: dict[str, tuple[StoredObject, Era]] = {}
        self._created: dict[str, datetime] = {}

    @property
    def where(self) -> str:
        """The storage's URI."""
        return self._objects.where

    def find_ignored_condition(self) -> str | None:
        """What the storage does wrong, or None; it writes an object of its own and deletes it."""
        return find_ignored_condition(self._objects, PROBE)

    def specs(self) -> list[str]:
        """The specs with objects in the store, each by the first 16 digits of its fingerprint."""
        named = {named_spec(key) for key in self._objects.keys(ROOT)}
        return sorted(spec for spec in named if spec is not None)

    def eras(self, spec: str) -> list[int]:
        """The numbers of a spec's eras, ascending; the last one counts.

        Args:
            spec: a fingerprint, or its first 16 digits.
        """
        folder = spec_folder(spec)
        numbers = (era_number(key, folder) for key in self._objects.keys(eras_folder(folder)))
        return sorted(number for number in numbers if number is not None)

    def read_era(self, spec: str, number: int) -> Era:
        """An era; an unchanged file is not read again.

        Raises:
            ArtifactCorrupt: the file is not that era.
            StoreError: there is none.
        """
        key = era_key(spec_folder(spec), number)
        known, era = self._eras.get(key, (None, None))
        found = self._objects.read(key, ERA_MAX_BYTES, known)
        if found is None:
            raise StoreError(f"there is no {self._name(key)}")
        if era is None or found is not known:
            era = decode_era(found.content, self._name(key))
            self._eras[key] = found, era
        if not era.spec.startswith(spec) or era.number != number:
            raise ArtifactCorrupt(
                f"{self._name(key)} cannot be used: it is era {era.number} of spec "
                f"{era.spec[:16]}; restore the right file from a backup of the store"
            )
        return era

    def latest_era(self, spec: str) -> Era | None:
        """The era that counts; None before the first.

        Raises:
            ArtifactCorrupt: its file cannot be used. An earlier era would give other histories.
        """
        numbers = self.eras(spec)
        return self.read_era(spec, numbers[-1]) if numbers else None

    def create_era(self, era: Era) -> bool:
        """Begin an era, whose number is the one after the last; False if another process did.

        Raises:
            StoreError: the storage ignores the conditions of writes.
            ValueError: the era could not be read again.
        """
        content = encode_era(era)
        last = max(self.eras(era.spec), default=0)
        if era.number != last + 1:
            return False
        self._require_conditions()
        return self._objects.create(era_key(spec_folder(era.spec), era.number), content)

    def snapshots(self, era: Era, partition: int, at_most: int | None = None) -> list[SnapshotName]:
        """A partition's snapshots up to an offset, newest first."""
        prefix = partition_folder(spec_folder(era.spec), era.number, partition)
        found = self._names(era.spec, prefix)
        return [name for name in found if at_most is None or name.next_offset <= at_most]

    def all_snapshots(self, era: Era) -> dict[int, list[SnapshotName]]:
        """The snapshots of each partition that has any, newest first."""
        found: defaultdict[int, list[SnapshotName]] = defaultdict(list)
        for name in self._names(era.spec, era_folder(spec_folder(era.spec), era.number)):
            found[name.partition].append(name)
        return dict(sorted(found.items()))

    def read_facts(self, era: Era, name: SnapshotName) -> SnapshotFacts | None:
        """A snapshot's header without its records; None if it was deleted.

        Raises:
            ArtifactCorrupt: it is not a header of that snapshot.
        """
        facts = self._read_head(name)
        if facts is not None:
            self._check(era, name, facts)
            self._remember(name, facts.header.created)
        return facts

    def read_snapshot(
        self, era: Era, name: SnapshotName, widths: Mapping[str, int], body: Body | None = None
    ) -> tuple[bytes, Snapshot] | None:
        """A snapshot as stored, and decoded; None if it was deleted.

        The caller compares the check sum of the restored history with the one in the header.

        Args:
            era: to which it belongs.
            name: from :meth:`snapshots`.
            widths: the words of a record by key space, in the order of the spec.
            body: what its header announced; no more than that is read into memory.

        Raises:
            ArtifactCorrupt: it is not an intact snapshot of that state.
        """
        content = history_seeds.read_announced(self._objects, name.key, body)
        if content is None:
            return None
        snapshot = decode_snapshot(content, self._name(name.key), widths, era.max_keys)
        self._check(era, name, SnapshotFacts(snapshot.header, snapshot.body))
        return content, snapshot

    def candidates(
        self,
        era: Era,
        partition: int,
        at_most: int,
        widths: Mapping[str, int],
        on_damaged: Callable[[ArtifactCorrupt], None] | None = None,
    ) -> Iterator[tuple[bytes, Snapshot]]:
        """The intact snapshots up to an offset, newest first, each read when it is asked for.

        A damaged one is logged, given to ``on_damaged``, and passed over.
        """
        for name in self.snapshots(era, partition, at_most):
            try:
                found = self.read_snapshot(era, name, widths)
            except ArtifactCorrupt as error:
                log.warning("%s", error)
                if on_damaged is not None:
                    on_damaged(error)
                continue
            if found is not None:
                yield found

    def create_snapshot(self, era: Era, content: bytes) -> Written:
        """Write a snapshot, unless one of the same partition and offset exists.

        What has that name and is no readable snapshot of this era is replaced.

        Raises:
            ArtifactCorrupt: ``content`` is not a snapshot of this era.
            StoreError: conditions are ignored, or another process has begun an era of this number.
        """
        facts = read_facts(content[:HEADER_MAX_BYTES], "the new snapshot")
        era.check(facts.header, facts.header.partition, "the new snapshot")
        name = era.snapshot(facts.header.partition, facts.header.next_offset)
        self._require_conditions()
        for _ in range(CREATE_ATTEMPTS):
            if self._objects.create(name.key, content):
                self._remember(name, facts.header.created)
                return "created"
            try:
                found = self.read_facts(era, name)
            except ArtifactCorrupt as error:
                self._require_own(era)
                log.warning("%s; it is replaced by a new one", error)
                self._objects.remove(name.key)
                continue
            if found is not None:
                return "same" if found.state == facts.state else "different"
        times = f"{CREATE_ATTEMPTS} times"
        raise StoreError(f"{self._name(name.key)} was written or deleted by others {times}")

    def prune(
        self, era: Era, partition: int, offset: int, *, keep_days: int, now: datetime
    ) -> list[SnapshotName]:
        """Delete the snapshots of a partition that are no longer needed; returns their names.

        See :func:`~stream_scorer.model.store.history_pruning.find_expired`. The header of each
        snapshot is read once by this object. Any process may prune at the same time.
        """
        names = {name.next_offset: name for name in self.snapshots(era, partition)}
        dated = [Dated(at, self._date(name, era)) for at, name in names.items()]
        expired = find_expired(dated, offset, now.astimezone(UTC).date(), keep_days)
        return self._remove(names[snapshot.next_offset] for snapshot in expired)

    def prune_ended(self, era: Era, *, keep_days: int, now: datetime) -> list[SnapshotName]:
        """Delete the snapshots of the spec's earlier eras that are older than ``keep_days``.

        It lists all snapshots of the spec, so call it once a day. The eras themselves stay.
        """
        today = now.astimezone(UTC).date()
        ended: defaultdict[tuple[int, int], list[SnapshotName]] = defaultdict(list)
        for name in self._names(era.spec, f"{ROOT}{spec_folder(era.spec)}/"):
            if name.era < era.number:
                ended[name.era, name.partition].append(name)
        removed: list[SnapshotName] = []
        for names in ended.values():
            for name in reversed(names):  # oldest first; those after one that is kept are younger
                dated = Dated(name.next_offset, self._date(name, None))
                if not is_expired(dated, today, keep_days):
                    break
                removed += self._remove([name])
        return removed

    def write_seed(self, content: bytes) -> str:
        """Write a seed unless it exists; returns its sha256, which is its name."""
        self._require_conditions()
        return history_seeds.write_seed(self._objects, content)

    def read_seed(
        self, spec: str, sha256: str, widths: Mapping[str, int], body: Body | None = None
    ) -> Seed:
        """A seed by its digest; ``widths`` and ``body`` as in :meth:`read_snapshot`.

        Raises:
            ArtifactCorrupt: it is not that seed, or not one of these history features.
            StoreError: there is none.
        """
        return history_seeds.read_seed(self._objects, spec, sha256, widths, body)

    def read_seed_facts(self, sha256: str) -> SeedFacts:
        """A seed's header without its records.

        Raises:
            ArtifactCorrupt: it is not the header of a seed.
            StoreError: there is none.
        """
        return history_seeds.read_facts_of_seed(self._objects, sha256)

    def _names(self, spec: str, prefix: str) -> list[SnapshotName]:
        folder = spec_folder(spec)
        names = (snapshot_name(key, folder) for key in self._objects.keys(prefix))
        return sorted((name for name in names if name is not None), reverse=True)

    def _name(self, key: str) -> str:
        return f"{key} in {self.where}"

    def _check(self, era: Era, name: SnapshotName, facts: SnapshotFacts) -> None:
        shown = self._name(name.key)
        era.check(facts.header, name.partition, shown)
        if facts.header.next_offset != name.next_offset:
            raise ArtifactCorrupt(
                f"{shown} cannot be used: it is of offset {facts.header.next_offset}; delete it, "
                "it does not belong there"
            )

    def _require_own(self, era: Era) -> None:
        if era.number in self.eras(era.spec) and self.read_era(era.spec, era.number).id != era.id:
            raise StoreError(f"another process has begun era {era.number} of {era.spec[:16]}")

    def _read_head(self, name: SnapshotName) -> SnapshotFacts | None:
        head = self._objects.read_head(name.key, HEADER_MAX_BYTES)
        return None if head is None else read_facts(head, self._name(name.key))

    def _date(self, name: SnapshotName, era: Era | None) -> datetime | None:
        """When a snapshot (of ``era``) was written; None if its header is none or is another's."""
        if era is not None and name.key in self._created:
            return self._created[name.key]
        try:
            facts = self._read_head(name) if era is None else self.read_facts(era, name)
        except ArtifactCorrupt as error:
            log.warning("%s", error)
            return None
        return None if facts is None else facts.header.created

    def _remember(self, name: SnapshotName, created: datetime) -> None:
        if len(self._created) >= REMEMBERED_MAX:
            self._created.clear()
        self._created[name.key] = created

    def _remove(self, names: Iterator[SnapshotName] | list[SnapshotName]) -> list[SnapshotName]:
        removed = []
        for name in names:
            self._objects.remove(name.key)
            self._created.pop(name.key, None)
            removed.append(name)
        return removed

    def _require_conditions(self) -> None:
        """Try conditional writes before this object's first one."""
        if not self._is_tried and (ignored := self.find_ignored_condition()):
            raise StoreError(ignored)
        self._is_tried = True
