"""The thread that keeps card histories loaded, and what requests get of them."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from dashboard.history.following import Follower, Round, StreamLog
from dashboard.history.loading import Damaged, EraLoader
from dashboard.history.partitions import Missing, View
from dashboard.history.past import LOADING, HistoryStatus, Past, Recent, not_used, spec_of
from dashboard.history.reading import read_past
from dashboard.history.recent import find_recent
from dashboard.history.retries import Retries
from dashboard.model_status import ModelSource
from schemas.batch import TransactionBatch
from stream_scorer.errors import RetryableError, ScorerError, StoreError
from stream_scorer.features.history.header import OFFSETS_END
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
"""Between two looks for newer snapshots."""

RETRY_SECONDS: Final = 10.0
"""After the store or a broker failed."""

TICK_SECONDS: Final = 1.0
STOP_SECONDS: Final = 5.0
_JITTER: Final = 0.1  # share of a pause by which pods spread their requests


@dataclass(frozen=True, slots=True)
class FollowOptions:
    """What ``PREDICT_HISTORY=follow`` needs.

    Attributes:
        open_log: opens inputs, dead letters and committed offsets.
        topic: the input topic.
    """

    open_log: Callable[[], StreamLog]
    topic: str


class StoredHistories:
    """Histories from the store, of the model that is loaded. Implements ``Histories``.

    Args:
        model: the loaded model; when another one reads another history, that one is loaded.
        store: eras and snapshots.
        max_bytes: memory of all loaded histories.
        follow: advance them with the stream; None: load newer snapshots only.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        model: ModelSource,
        store: HistoryStore,
        max_bytes: int,
        follow: FollowOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._store = store
        self._max_bytes = max_bytes
        self._follow = follow
        self._clock = clock
        self._view: View | None = None
        self._damaged = Damaged(clock)
        self._loader: EraLoader | None = None
        self._follower: Follower | None = None
        self._look_at = self._follow_at = 0.0
        self._retries = Retries(clock)
        self._store_problem = self._stream_problem = ""
        self._plain_problem = ""  # for results, which are for everybody: a store names its host
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="card-history", daemon=True)

    # For requests, in any thread

    def read(self, batch: TransactionBatch, spec: HistorySpec) -> Past:
        """The features of the past of each transaction; see the protocol."""
        view = self._view
        if view is None or not view.partitions:
            reason = f"{LOADING}: {self._plain_problem}" if self._plain_problem else LOADING
            return Past(None, [not_used(reason)] * len(batch))
        return read_past(view, batch, spec)

    def recent(self, context: Mapping[str, Any]) -> Recent | None:
        """The last transactions of a card; see the protocol."""
        view = self._view
        return None if view is None else find_recent(view, context)

    def status(self) -> HistoryStatus | None:
        """Which histories there are; None if the loaded model reads no history."""
        spec = spec_of(self._model)
        if spec is None:
            return None
        view = self._view
        status = HistoryStatus(
            "snapshot" if self._follow is None else "follow",
            damaged=self._damaged.count,
            problem=self._store_problem or self._stream_problem,
        )
        if view is None or view.spec.fingerprint != spec.fingerprint:
            return status
        loaded = view.loaded()
        reasons = [one.reason for one in view.partitions if isinstance(one, Missing)]
        return replace(
            status,
            era=None if view.era is None else view.era.number,
            partitions=len(view.partitions),
            loaded=len(loaded),
            as_of=min((one.as_of for one in loaded), default=None),
            nbytes=sum(one.nbytes for one in loaded),
            problem=status.problem or next(iter(reasons), ""),
        )

    # The thread

    def start(self) -> None:
        """Start loading in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; returns when the thread has ended, or after five seconds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.tick()
            except Exception:  # last line of defence: a dead thread would let histories age
                log.exception("keeping card histories loaded failed")
                self._store_problem = "unexpected error; see the log"
                self._look_at = self._follow_at = self._clock() + RETRY_SECONDS
            self._stop.wait(TICK_SECONDS)
        self._close_follower()

    def tick(self) -> None:
        """Load what is missing or newer, and advance it; never raises for a bad store or broker."""
        spec = spec_of(self._model)
        if spec is None:
            self._view = self._loader = None
            self._close_follower()
            return
        view = self._view
        if view is None or view.spec.fingerprint != spec.fingerprint:
            self._view, self._loader = View(spec), None
            self._store_problem = self._stream_problem = self._plain_problem = ""
            self._look_at = self._follow_at = 0.0
            self._retries.forget()
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS * random.uniform(1 - _JITTER, 1 + _JITTER)
            try:
                self._look(spec)
                self._store_problem = self._plain_problem = ""
            except ScorerError as error:
                self._note_store_problem(error)
        if self._follow is not None and self._clock() >= self._follow_at:
            self._advance(self._follow)

    # The store

    def _look(self, spec: HistorySpec) -> None:
        """Look for the era and for newer snapshots.

        Raises:
            ScorerError: the store cannot be reached, or no history can be found.
        """
        era = self._find_era(spec)
        view = self._require_view()
        if view.era is None or view.era.id != era.id:
            self._begin_era(view, era)
        names = self._store.all_snapshots(era)
        self._loader = EraLoader(self._store, spec, era, names, self._damaged)
        for partition in range(era.partition_count):
            wanted = spec_of(self._model)
            is_other = wanted is None or wanted.fingerprint != spec.fingerprint
            if self._stop.is_set() or is_other:
                return
            if self._retries.is_due(partition):
                self._load(self._loader, partition)

    def _find_era(self, spec: HistorySpec) -> Era:
        era = self._store.latest_era(spec.fingerprint)
        if era is None:
            raise RetryableError(
                "the store has no history for this model yet: scorers begin one when they have "
                "loaded the model"
            )
        if era.spec != spec.fingerprint:
            raise StoreError(f"era {era.number} in the store is of other history features")
        if self._follow is not None and era.topic != self._follow.topic:
            raise StoreError(
                f"the history is of the topic {era.topic}, and INPUT_TOPIC is {self._follow.topic}"
            )
        return era

    def _begin_era(self, view: View, era: Era) -> None:
        """Go on with the histories of the era before until each is loaded, if that is possible."""
        kept = view.partitions
        if len(kept) != era.partition_count:  # cards are in other partitions now
            kept = (Missing(LOADING),) * era.partition_count
        self._view = View(view.spec, era, kept)
        self._retries.forget()
        if view.era is not None:
            log.info("a new era of the card history began", extra={"era": era.number})

    def _load(self, loader: EraLoader, partition: int, at_most: int = OFFSETS_END) -> None:
        """Load a partition, unless the history that is there is as new.

        Raises:
            StoreError: the store cannot be reached.
        """
        view = self._require_view()
        current = next((one for one in view.current() if one.partition == partition), None)
        than = None
        if current is not None and at_most == OFFSETS_END:
            if self._follow is not None and not self._stream_problem:
                return  # it is ahead of the snapshots, or will be soon
            than = max(current.stored_offset, current.offset)
        try:
            found = loader.load(partition, self._room(view, partition), than, at_most)
        except StoreError:
            # In plain words, because results of /predict have them. The status has the store's.
            if isinstance(view.partitions[partition], Missing):
                plain = f"the history of partition {partition} cannot be read from the store"
                self._note_missing(partition, plain)
            raise
        except ScorerError as error:
            reason = str(error)
        except MemoryError:
            reason = f"the history of partition {partition} does not fit into memory"
        else:
            if found is not None:
                self._view = view.with_partition(partition, found)
            return
        if than is None:  # else the older one is better than none
            self._note_missing(partition, reason)

    def _room(self, view: View, partition: int) -> int:
        """Memory that is left for a partition."""
        others = (one.nbytes for one in view.loaded() if one.partition != partition)
        return self._max_bytes - sum(others)

    # The stream

    def _advance(self, follow: FollowOptions) -> None:
        """Advance all histories; drop those that cannot be."""
        view = self._require_view()
        if not view.current():
            return
        try:
            if self._follower is None:
                self._follower = Follower(follow.open_log(), self._stop.is_set)
            result = self._follower.advance(view)
            self._apply(view, result)
            if result.problem is not None:
                raise result.problem
            self._stream_problem = ""
        except ScorerError as error:
            self._close_follower()  # a new connection may find another broker
            self._follow_at = self._clock() + RETRY_SECONDS
            if str(error) != self._stream_problem:
                log.warning("card histories cannot be advanced: %s", error)
            self._stream_problem = str(error)

    def _apply(self, view: View, result: Round) -> None:
        """Drop the histories that failed, and load those again that are ahead of the scorers.

        Raises:
            StoreError: the store cannot be reached.
        """
        for one in view.current():
            if one.partition not in result.failed:
                self._retries.succeeded(one.partition)
        for partition, reason in result.failed.items():
            self._drop(partition, reason)
        if result.newer_era:
            self._look_at = min(self._look_at, self._clock() + RETRY_SECONDS)
        for partition, offset in result.ahead.items():
            if self._loader is not None:
                self._load(self._loader, partition, offset)
        self._limit_memory()

    def _limit_memory(self) -> None:
        """Histories grow as they advance: drop the largest while there is no room for all."""
        loaded = sorted(self._require_view().loaded(), key=lambda one: one.nbytes)
        while loaded and sum(one.nbytes for one in loaded) > self._max_bytes:
            reason = f"all histories need more than PREDICT_HISTORY_MAX_BYTES={self._max_bytes}"
            self._drop(loaded.pop().partition, reason)

    # Notes

    def _drop(self, partition: int, reason: str) -> None:
        """A history cannot be used any more; it is loaded again later."""
        self._retries.failed(partition)
        self._note_missing(partition, reason)

    def _note_missing(self, partition: int, reason: str) -> None:
        view = self._require_view()
        if view.partitions[partition] != Missing(reason):
            log.error("%s", reason, extra={"partition": partition})
            self._view = view.with_partition(partition, Missing(reason))

    def _note_store_problem(self, error: ScorerError) -> None:
        problem = str(error)
        is_driver = isinstance(error, StoreError)
        self._plain_problem = "the store does not answer" if is_driver else problem
        if problem != self._store_problem:
            log.warning("card histories cannot be loaded: %s", problem)
        self._store_problem = problem
        self._look_at = self._clock() + RETRY_SECONDS

    def _require_view(self) -> View:
        view = self._view
        if view is None:
            raise AssertionError("there is no view without a model that reads a history")
        return view

    def _close_follower(self) -> None:
        follower, self._follower = self._follower, None
        if follower is not None:
            follower.close()
