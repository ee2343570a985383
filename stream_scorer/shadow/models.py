"""A challenger that is ready to score, and the one in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle
from stream_scorer.shadow.figures import Figures
from stream_scorer.shadow.ports import ShadowSink
from stream_scorer.shadow.scoring import (
    ShadowBatch,
    encode,
    history_of,
    preprocessor_of,
    score_part,
    select,
)
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


class ChallengerFailed(Exception):
    """The challenger could not score a batch."""


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

    def needs_records(self, champion: Bundle) -> bool:
        """Whether it reads other columns than the champion's."""
        ...

    def score(self, job: ShadowBatch) -> Iterator[Scored]:
        """Score the chosen transactions of a batch.

        Raises:
            ChallengerEnded: it cannot score any more.
            Exception: whatever the challenger raises.
        """
        ...

    def close(self) -> None:
        """End it; any thread may call this, also while it scores."""
        ...


class BundleModel:
    """A challenger in this process.

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

    @property
    def version(self) -> str:
        """Its version."""
        return self.bundle.version

    @property
    def history(self) -> str | None:
        """The card history that it reads."""
        return history_of(self.bundle)

    def needs_records(self, champion: Bundle) -> bool:
        """Whether it reads other columns than the champion's."""
        layout = champion.features.layout
        return layout is not None and layout != self.bundle.features.layout

    def score(self, job: ShadowBatch) -> Iterator[Scored]:
        """Score the chosen transactions of a batch."""
        polled = replace(job.polled, keys=job.read_keys())
        return self.score_parts(polled, select(job, self._share, preprocessor_of(self.bundle)))

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
        self._is_closed = True
