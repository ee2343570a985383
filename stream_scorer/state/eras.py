"""Eras of card histories: finds the one that counts, begins the first, and goes on after a gap."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from stream_scorer.errors import ArtifactCorrupt, ScorerError, StoreError
from stream_scorer.features.history.codec import encode_snapshot, most_keys
from stream_scorer.features.history.header import OFFSETS_END, SHA256, TIMES_END
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_cache import HistoryCache
from stream_scorer.model.store.history_era import Era, EraSeed
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.runtime.json_limits import shown
from stream_scorer.state.faults import HistoryGap
from stream_scorer.state.input_log import InputLog
from stream_scorer.state.restore import PartitionRestore, PartitionState

log = logging.getLogger(__name__)

FIRST_ERA: Final = 1


class EraUnusable(ScorerError):
    """The era that counts does not belong to this input; waiting does not help."""


@dataclass(frozen=True, slots=True)
class InputFacts:
    """The input topic as it is now.

    Attributes:
        topic: its name.
        topic_id: its id; empty where brokers give topics none.
        partition_count: its partitions.
    """

    topic: str
    topic_id: str
    partition_count: int


class Eras:
    """The eras of one input topic. One thread owns it.

    Args:
        store: where they are.
        facts: the input topic.
        cache: has the last one, for a start while the store is down.
        max_keys: of each partition and key space, in eras that begin here.
        now: the time, for people.
    """

    def __init__(
        self,
        store: HistoryStore,
        facts: InputFacts,
        max_keys: int,
        cache: HistoryCache | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._cache = cache
        self._facts = facts
        self._max_keys = max_keys
        self._now = now

    def find(self, bundle: Bundle, inputs: InputLog) -> Era:
        """The era that counts for a bundle's history; the first one begins now.

        It begins with the bundle's seed if there is one, at the offsets that the group has
        committed, or at the first input that is left where it has not.

        Raises:
            EraUnusable: it is one of another topic, or of another number of partitions.
            StoreError, ArtifactCorrupt, RetryableError, FatalError: it cannot be read or begun now.
        """
        spec = require_spec(bundle)
        try:
            era = self._store.latest_era(spec.fingerprint) or self._begin_first(bundle, inputs)
        except StoreError as error:
            cached = None if self._cache is None else self._cache.latest_era(spec.fingerprint)
            if cached is None:
                raise
            log.warning("era %d of the card history is the cached one: %s", cached.number, error)
            self.check(cached)
            return cached
        self.check(era)
        if self._cache is not None:
            self._cache.save_era(era)
        return era

    def check(self, era: Era) -> None:
        """Check that an era is one of this topic.

        Raises:
            EraUnusable: it is not; the message says what to do.
        """
        facts, advice = self._facts, "begin a new era with `stream-scorer history build`"
        if era.topic != facts.topic:
            raise EraUnusable(
                f"era {era.number} of the card history is one of the topic {era.topic}, and this "
                f"scorer reads {facts.topic}: {advice}"
            )
        if era.topic_id and facts.topic_id and era.topic_id != facts.topic_id:
            raise EraUnusable(
                f"topic {era.topic} was deleted and recreated: era {era.number} of the card "
                f"history belongs to the one with id {era.topic_id}, and it now has id "
                f"{facts.topic_id}: {advice}"
            )
        if era.partition_count != facts.partition_count:
            raise EraUnusable(
                f"topic {era.topic} has {facts.partition_count} partitions, and era {era.number} "
                f"of the card history has {era.partition_count}: cards are in other partitions "
                "now. Stop the producers and run `stream-scorer history rescale`"
            )

    def begin_next(
        self,
        era: Era,
        state_of: Callable[[int], PartitionState],
        why: str,
        last_check: Callable[[], None] = lambda: None,
    ) -> Era | None:
        """Begin the next era with these states; None if another process began it first.

        Args:
            era: the one that ends.
            state_of: the state of a partition. Each gets a snapshot before the next one is asked
                for, so that only one need be in memory.
            why: for people.
            last_check: called when all are stored, before the era begins; raises to prevent it.

        Raises:
            StoreError: it could not be written; nothing has changed for anyone.
        """
        draft = replace(
            era,
            number=era.number + 1,
            begin=(0,) * era.partition_count,
            has_base=True,
            is_cold=False,
            why=why,
            created=self._now(),
            id=uuid4().hex,
        )
        partitions = range(era.partition_count)
        try:
            begin = tuple(self._write_base(draft, p, state_of(p)) for p in partitions)
        except StoreError:
            if draft.number in self._store.eras(era.spec):
                return None  # its snapshots have the names of these, and must stay
            raise
        new = replace(draft, begin=begin)
        last_check()
        if not self._store.create_era(new):
            return None
        for partition in partitions:  # one that began the same era may have replaced them before
            try:
                is_there = self._store.read_facts(new, new.snapshot(partition, begin[partition]))
            except ArtifactCorrupt:
                is_there = None
            if is_there is None:
                self._write_base(new, partition, state_of(partition))
        log.warning("begin era %d of the card history: %s", new.number, why, extra=_facts(new))
        return new

    def continue_after(self, gap: HistoryGap, restore: PartitionRestore) -> Era | None:
        """Begin the next era without inputs that are gone; None if another process began it.

        Every other partition goes on from its newest snapshot.

        Raises:
            StoreError, ArtifactCorrupt, RetryableError, FatalError: not possible now.
        """
        offset = restore.log.committed([gap.partition])[gap.partition].offset
        resumed = gap.first if offset is None else min(gap.first, offset)

        def state_of(partition: int) -> PartitionState:
            if partition != gap.partition:
                return restore.nearest(partition, OFFSETS_END)
            state = restore.nearest(partition, gap.needed)
            state.offset = resumed
            return state

        why = (
            f"the inputs of partition {gap.partition} from offset {gap.needed} to before "
            f"{resumed} are missing (HISTORY_ON_GAP=continue)"
        )
        return self.begin_next(restore.era, state_of, why)

    def _write_base(self, era: Era, partition: int, state: PartitionState) -> int:
        """Write the snapshot that a partition begins with; returns its offset."""
        header = era.header(
            partition,
            state.offset,
            dead_letter_offset=state.dead_letter_offset,
            check_sum=state.history.check_sum(),
            writer="the beginning of the era",
            created=era.created,
        )
        self._store.create_snapshot(era, encode_snapshot(header, state.history.records()))
        return state.offset

    def _begin_first(self, bundle: Bundle, inputs: InputLog) -> Era:
        first = self._first(bundle, require_spec(bundle), inputs)
        if self._store.create_era(first):
            log.info("begin era %d of the card history", first.number, extra=_facts(first))
        era = self._store.latest_era(first.spec)  # another process may have been the first
        if era is None:
            raise StoreError(f"{self._store.where} does not return the era just written")
        return era

    def _first(self, bundle: Bundle, spec: HistorySpec, inputs: InputLog) -> Era:
        facts = self._facts
        places = inputs.committed(range(facts.partition_count))
        begin = []
        for partition in range(facts.partition_count):
            offset = places[partition].offset
            begin.append(inputs.first_retained(partition) if offset is None else offset)
        seed = seed_of(bundle)
        return Era(
            spec=spec.fingerprint,
            number=FIRST_ERA,
            topic=facts.topic,
            topic_id=facts.topic_id,
            begin=tuple(begin),
            seed=seed,
            max_keys=min(self._max_keys, most_keys(spec.widths)),
            is_cold=seed is None,
            why=f"first use, by version {bundle.version}",
            created=self._now(),
        )


def spec_of(bundle: Bundle) -> HistorySpec | None:
    """The history features of a bundle; None if it has none."""
    return bundle.features.program.history


def spec_id(bundle: Bundle) -> str | None:
    """Their fingerprint."""
    spec = spec_of(bundle)
    return None if spec is None else spec.fingerprint


def require_spec(bundle: Bundle) -> HistorySpec:
    """The history features of a bundle that has some.

    Raises:
        ValueError: it has none.
    """
    spec = spec_of(bundle)
    if spec is None:
        raise ValueError(f"version {bundle.version} reads no card history")
    return spec


def seed_of(bundle: Bundle) -> EraSeed | None:
    """The seed that a bundle's metadata names.

    Raises:
        EraUnusable: it cannot be read.
    """
    history = bundle.metadata.get("history")
    seed: Any = history.get("seed") if isinstance(history, dict) else None
    if seed is None:
        return None
    sha256 = seed.get("sha256") if isinstance(seed, dict) else None
    as_of = seed.get("as_of") if isinstance(seed, dict) else None
    is_digest = type(sha256) is str and SHA256.fullmatch(sha256)
    if not is_digest or type(as_of) is not int or not 0 <= as_of <= TIMES_END:
        raise EraUnusable(
            f"metadata.json of version {bundle.version} names no usable seed: {shown(repr(seed))}"
        )
    return EraSeed(str(sha256), as_of)


def _facts(era: Era) -> dict[str, Any]:
    return {
        "era": era.number,
        "spec": era.spec[:16],
        "seed": None if era.seed is None else era.seed.sha256,
        "begin": list(era.begin),
    }
