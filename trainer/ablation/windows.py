"""The rows of an ablation: windows in time, each with rows to learn from and later rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.errors import UsageError
from stream_scorer.features.program import Program
from trainer.data.ingest import Part, TrainingRows, ingest
from trainer.data.rows import join_rows as join_all
from trainer.data.source import SyntheticSource, TrainingSource
from trainer.fitting.plan import SplitPlan
from trainer.history.burn_in import first_learned_row
from trainer.history.rows import compute_history

DAY_SECONDS: Final = 86_400

_TESTED_SHARE: Final = 0.2
_MOST_TESTED: Final = 0.45
# One window is the usual cut at 80 %. With more, the first model still has more than half of the
# rows to learn from.


@dataclass(frozen=True, slots=True)
class Window:
    """Rows to learn from, and later rows to be judged on, each in the order of time."""

    train: Part
    test: Part
    facts: dict[str, Any]


class WindowSource(Protocol):
    """Windows by their names, and the seeds of the models for each of them."""

    @property
    def names(self) -> tuple[str, ...]:
        """The windows, in the order in which they are loaded."""
        ...

    @property
    def unit(self) -> str:
        """What one window is called."""
        ...

    def seeds(self, name: str) -> tuple[int, ...]:
        """The seeds of the models for a window."""
        ...

    def facts(self) -> dict[str, Any]:
        """What the data are; equal facts and names give equal windows."""
        ...

    def load(self, name: str) -> Window:
        """A window's rows."""
        ...


@dataclass(frozen=True, slots=True)
class SyntheticWindows:
    """For each seed other synthetic rows, cut once; with the card history of ``program``."""

    rows: int
    all_seeds: tuple[int, ...]
    gap_days: float
    program: Program | None = None
    unit: str = "data seed"

    @property
    def names(self) -> tuple[str, ...]:
        """One for each seed."""
        return tuple(f"data seed {seed}" for seed in self.all_seeds)

    def seeds(self, name: str) -> tuple[int, ...]:
        """The seed of the rows is that of the model too."""
        return (self.all_seeds[self.names.index(name)],)

    def facts(self) -> dict[str, Any]:
        """The number of rows."""
        return {"source": "synthetic", "rows": self.rows}

    def load(self, name: str) -> Window:
        """Generate the rows."""
        (seed,) = self.seeds(name)
        rows = join_rows(ingest(SyntheticSource(self.rows, seed), _silent), self.program)
        (cut,) = cut_rows(rows.batch.times, 1, self.gap_days, rows.first)
        return load_window(rows, cut, name)


@dataclass(slots=True)
class FileWindows:
    """Expanding windows in time over the rows of a source, which are read once.

    They have the card history of ``program``.
    """

    source: TrainingSource
    name: str
    folds: int
    all_seeds: tuple[int, ...]
    gap_days: float
    program: Program | None = None
    unit: str = "time window"
    _rows: Joined | None = field(default=None, init=False)

    @property
    def names(self) -> tuple[str, ...]:
        """From the earliest to the latest."""
        return tuple(f"window {k} of {self.folds}" for k in range(1, self.folds + 1))

    def seeds(self, name: str) -> tuple[int, ...]:  # noqa: ARG002
        """Every window has the same seeds."""
        return self.all_seeds

    def facts(self) -> dict[str, Any]:
        """Where the rows are; their digest is known when they are read."""
        return {"source": self.name, "folds": self.folds}

    def load(self, name: str) -> Window:
        """One of the windows."""
        if self._rows is None:
            self._rows = join_rows(ingest(self.source, _silent), self.program)
        rows = self._rows
        cuts = cut_rows(rows.batch.times, self.folds, self.gap_days, rows.first)
        return load_window(rows, cuts[self.names.index(name)], name)


@dataclass(frozen=True, slots=True)
class Joined:
    """All rows in the order of time, the digest of their source, and the first to learn from."""

    batch: TransactionBatch
    labels: NDArray[np.int8]
    digest: Any
    first: int = 0


class Cut(NamedTuple):
    """The rows to learn from, and the later ones to be judged on."""

    train: slice
    test: slice


def join_rows(rows: TrainingRows, program: Program | None = None) -> Joined:
    """The rows in one batch in the order of time, with a program's card history.

    Frees the source's rows. With a history, no variant learns from the first rows, not even one
    without history features: all are compared on the same rows.
    """
    history, first = None, 0
    if program is not None and program.history is not None:
        history = compute_history(rows, program.history, _silent).columns
        first = first_learned_row(rows.times, program)
    part = join_all(rows)
    batch = part.batch.with_history(history)
    return Joined(batch, part.labels, rows.facts.get("sha256"), first)


def cut_rows(times: NDArray[np.int64], folds: int, gap_days: float, begin: int = 0) -> list[Cut]:
    """Test windows of about equal size at the end of ascending times, each after a gap.

    On short data the gap shrinks as in training. Rows of the same second are in the same part.
    Rows before ``begin`` are not learned from.
    """
    n = len(times)
    gap = min(gap_days * DAY_SECONDS, float(times[-1] - times[0]) * SplitPlan().max_gap_share)
    tested = min(_TESTED_SHARE * folds, _MOST_TESTED)
    starts = [times[int(n * (1 - tested + tested * k / folds))] for k in range(folds)]
    first = [int(np.searchsorted(times, start)) for start in starts]
    learned = [int(np.searchsorted(times, start - gap)) for start in starts]
    return [
        Cut(slice(min(begin, end), end), slice(start, stop))
        for end, start, stop in zip(learned, first, [*first[1:], n], strict=True)
    ]


def load_window(rows: Joined, cut: Cut, name: str) -> Window:
    """The rows of one window, which are not copied.

    Raises:
        UsageError: a part does not have both classes.
    """
    for what, where in (("to learn from", cut.train), ("to be judged on", cut.test)):
        labels = rows.labels[where]
        if not 0 < int(labels.sum()) < len(labels):
            raise UsageError(
                f"{name}: {int(labels.sum())} of the {len(labels)} rows {what} are frauds, and "
                "both classes are needed: use more rows over a longer time, or fewer --folds"
            )
    train, test = (Part(rows.batch.take(where), rows.labels[where]) for where in cut)
    facts = {
        "train_rows": len(train),
        "test_rows": len(test),
        "test_frauds": int(test.labels.sum()),
        "sha256": rows.digest,
    }
    return Window(train, test, facts)


def _silent(_: int) -> None:
    """The progress of an ablation counts fits, not rows."""
