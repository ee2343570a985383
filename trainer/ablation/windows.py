"""The rows of an ablation: windows in time, each with rows to learn from and later rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from stream_scorer.errors import UsageError
from trainer.data.ingest import Part, TrainingRows, ingest
from trainer.data.source import SyntheticSource, TrainingSource
from trainer.fitting.plan import SplitPlan

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
    """For each seed other synthetic rows, cut once."""

    rows: int
    all_seeds: tuple[int, ...]
    gap_days: float
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
        rows = ingest(SyntheticSource(self.rows, seed), _silent)
        window = cut_rows(rows, 1, self.gap_days)[0]
        loaded = load_window(rows, window, name)
        rows.release()
        return loaded


@dataclass(slots=True)
class FileWindows:
    """Expanding windows in time over the rows of a source, which are read once."""

    source: TrainingSource
    name: str
    folds: int
    all_seeds: tuple[int, ...]
    gap_days: float
    unit: str = "time window"
    _rows: TrainingRows | None = field(default=None, init=False)

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
            self._rows = ingest(self.source, _silent)
        windows = cut_rows(self._rows, self.folds, self.gap_days)
        return load_window(self._rows, windows[self.names.index(name)], name)


@dataclass(frozen=True, slots=True)
class Cut:
    """Masks over all rows: to learn from, and to be judged on."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def cut_rows(rows: TrainingRows, folds: int, gap_days: float) -> list[Cut]:
    """Test windows of equal numbers of rows at the end; each is preceded by a gap.

    On short data the gap shrinks as in training.
    """
    times, n = rows.times, len(rows)
    ordered = np.sort(times)
    span = float(ordered[-1] - ordered[0])
    gap = min(gap_days * DAY_SECONDS, span * SplitPlan().max_gap_share)
    tested = min(_TESTED_SHARE * folds, _MOST_TESTED)
    starts = [ordered[int(n * (1 - tested + tested * k / folds))] for k in range(folds)]
    ends = [*starts[1:], np.inf]
    return [
        Cut(times < start - gap, (times >= start) & (times < end))
        for start, end in zip(starts, ends, strict=True)
    ]


def load_window(rows: TrainingRows, cut: Cut, name: str) -> Window:
    """The rows of one window.

    Raises:
        UsageError: a part does not have both classes.
    """
    for part, mask in (("to learn from", cut.train), ("to be judged on", cut.test)):
        n, frauds = int(mask.sum()), int(rows.labels[mask].sum())
        if not 0 < frauds < n:
            raise UsageError(
                f"{name}: {frauds} of the {n} rows {part} are frauds, and both classes are needed: "
                "use more rows over a longer time, or fewer --folds"
            )
    train, test = (_in_order(rows.part(mask)) for mask in (cut.train, cut.test))
    facts = {
        "train_rows": len(train),
        "test_rows": len(test),
        "test_frauds": int(test.labels.sum()),
        "sha256": rows.facts.get("sha256"),
    }
    return Window(train, test, facts)


def _in_order(part: Part) -> Part:
    """The rows in the order of time, which learning without a look into the future needs."""
    times = part.batch.times
    if (np.diff(times) >= 0).all():
        return part
    order = np.argsort(times, kind="stable")
    return Part(part.batch.take(order), part.labels[order])


def _silent(_: int) -> None:
    """The progress of an ablation counts fits, not rows."""
