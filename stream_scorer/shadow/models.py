"""A challenger that scores beside the loop, and the one in this process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle
from stream_scorer.shadow.figures import Figures
from stream_scorer.shadow.ports import ShadowSink
from stream_scorer.shadow.scoring import ShadowBatch, encode, history_of, score_part, select
from stream_scorer.stream.outcome import ScoredPart
from stream_scorer.stream.ports import Polled


class Scored(NamedTuple):
    """What was scored at once.

    Attributes:
        figures: of both versions.
        seconds: that the challenger took.
        not_finite: transactions whose score is no finite number.
        lost: scores that could not be published.
    """

    figures: Figures
    seconds: float
    not_finite: int
    lost: int


class Answer(NamedTuple):
    """What became of a part of a batch.

    Attributes:
        rows: that were to be scored.
        scored: nothing if it failed.
        error: why it failed, or None.
        has_ended: the challenger scores nothing any more.
    """

    rows: int
    scored: Sequence[Scored] = ()
    error: str | None = None
    has_ended: bool = False


class ChallengerEnded(Exception):
    """The challenger has ended, and cannot score any more."""


class ShadowModel(Protocol):
    """A version that scores in shadow, and publishes its scores."""

    @property
    def version(self) -> str:
        """Its version."""
        ...

    @property
    def history(self) -> str | None:
        """The fingerprint of the card history that it reads; None: it reads none."""
        ...

    @property
    def offered(self) -> int:
        """Parts of batches that it was given, all in all."""
        ...

    @property
    def answered(self) -> int:
        """Parts that it is ready with, all in all."""
        ...

    def waiting(self) -> tuple[int, int]:
        """Parts that it has not begun with, and their bytes."""
        ...

    def offer(self, job: ShadowBatch) -> int:
        """Give it a batch; the loop's thread calls this, and it neither waits nor raises.

        Returns:
            Transactions that it did not take.
        """
        ...

    def collect(self, seconds: float) -> list[Answer]:
        """The answers of a short while, in order; it waits up to ``seconds`` for a first one."""
        ...

    def close(self) -> None:
        """End it; any thread may call this, also while it scores."""
        ...


class BundleModel:
    """A challenger in this process; it scores in the thread that collects the answers.

    Args:
        bundle: the version.
        share: of the transactions, scored by it.
        decoder: of its own, for a challenger that reads other columns than the champion.
        sink: where the scores go.
    """

    def __init__(
        self, bundle: Bundle, share: float, decoder: TransactionDecoder, sink: ShadowSink
    ) -> None:
        self.bundle = bundle
        self._share = share
        self._decoder = decoder
        self._sink = sink
        self._is_closed = False
        self._changed = threading.Condition()
        self._queue: deque[ShadowBatch] = deque()
        self.offered = 0
        self.answered = 0

    @property
    def version(self) -> str:
        """Its version."""
        return self.bundle.version

    @property
    def history(self) -> str | None:
        """The card history that it reads."""
        return history_of(self.bundle)

    def waiting(self) -> tuple[int, int]:
        """The batches in the queue, and their bytes."""
        waiting = list(self._queue)
        return len(waiting), sum(job.nbytes for job in waiting)

    def offer(self, job: ShadowBatch) -> int:
        """Put a batch into the queue."""
        with self._changed:
            self._queue.append(job)
            self.offered += 1
            self._changed.notify_all()
        return 0

    def collect(self, seconds: float) -> list[Answer]:
        """Score the next batch."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed, seconds)
            if self._is_closed or not self._queue:
                return []
            job = self._queue.popleft()
        try:
            return [Answer(job.rows, list(self.score(job)))]
        except BaseException as error:  # whatever it raises, the thread goes on
            has_ended = isinstance(error, ChallengerEnded)
            shown = str(error) if has_ended else f"{type(error).__name__}: {error}"
            return [Answer(job.rows, (), shown, has_ended)]
        finally:
            self.answered += 1

    def score(self, job: ShadowBatch) -> Iterator[Scored]:
        """Score the chosen transactions of a batch."""
        return self.score_parts(job.polled, select(job, self._share))

    def score_parts(self, polled: Polled, parts: Sequence[ScoredPart]) -> Iterator[Scored]:
        """Score transactions that were selected."""
        for part in parts:
            begun = time.perf_counter()
            found = score_part(polled, part, self.bundle, self._decoder)
            seconds = time.perf_counter() - begun
            if self._is_closed:
                return  # given up, or replaced: it may not publish any more
            lost = 0
            if (head := self._sink.head()) is not None:
                now_ms = int(time.time() * 1000)
                records = encode(head, self._sink.topic, polled, found, self.bundle, now_ms)
                lost = self._sink.send(records)
            yield Scored(found.figures, seconds, found.not_finite, lost)

    def close(self) -> None:
        """Publish nothing any more."""
        with self._changed:
            self._is_closed = True
            self._queue.clear()
            self._changed.notify_all()
