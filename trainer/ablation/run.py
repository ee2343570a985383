"""Runs an ablation: every variant on every window, several fits at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program
from trainer.ablation.cost import measure_variant
from trainer.ablation.fit import Fitter, Rows
from trainer.ablation.plan import AblationPlan
from trainer.ablation.results import Result, Results
from trainer.ablation.variants import Variant, Variants
from trainer.ablation.windows import Window, WindowSource


@dataclass(frozen=True, slots=True)
class Fit:
    """One model to fit."""

    window: str
    seed: int
    variant: Variant


@dataclass(frozen=True, slots=True)
class Ablation:
    """An ablation and what is finished of it.

    Attributes:
        source: the rows.
        variants: what is compared.
        plan: how.
        results: the finished fits.
        path: the file that they were read from, for messages.
    """

    source: WindowSource
    variants: Variants
    plan: AblationPlan
    results: Results
    path: Path | None = None

    def fits(self) -> Iterator[Fit]:
        """Every fit, in order; those that have the same features occur once."""
        for window in self.source.names:
            distinct = {variant.digest: variant for variant in self.variants.distinct()}
            for variant in distinct.values():
                for seed in self.source.seeds(window):
                    yield Fit(window, seed, variant)

    def missing(self) -> list[Fit]:
        """The fits that are not finished."""
        return [
            fit
            for fit in self.fits()
            if self.results.find(fit.window, fit.seed, fit.variant) is None
        ]

    def run(self, finished: Callable[[], None]) -> None:
        """Run what is missing; ``finished`` is called after each fit.

        The rows of one window and the matrix of one program are in memory at a time. If this is
        interrupted, running fits end after their current tree.

        Raises:
            UsageError: the rows cannot be used, or are not those of the kept results.
        """
        for name, of_window in groupby(self.missing(), key=lambda fit: fit.window):
            window = self.source.load(name)
            self.results.check_window(name, window.facts, self.path)
            for _, of_program in groupby(of_window, key=lambda fit: id(fit.variant.program)):
                fits = list(of_program)
                self._run_all(fits, self._compute(window, fits[0].variant.program), finished)

    def _compute(self, window: Window, program: Program) -> Fitter:
        """The features of a program, computed once for all its variants."""
        features, matrix = FeatureSet.fit_transform(window.train.batch, program)
        later = features.transform(window.test.batch)
        for judged in self.variants.judged:
            alone = judged.alone
            if alone.program is program and alone.digest not in self.results.costs:
                cost = measure_variant(features, alone, window.test.batch)
                self.results.costs[alone.digest] = cost
        return Fitter(Rows(matrix, window.train.labels), Rows(later, window.test.labels))

    def _run_all(self, fits: list[Fit], fitter: Fitter, finished: Callable[[], None]) -> None:
        pool = ThreadPoolExecutor(self.plan.jobs, thread_name_prefix="fit")
        try:
            running: list[Future[Result]] = [pool.submit(self._run, fit, fitter) for fit in fits]
            for future in as_completed(running):
                self.results.add(future.result())
                finished()
        finally:
            fitter.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, fit: Fit, fitter: Fitter) -> Result:
        started = time.monotonic()
        found = fitter.average_precision(fit.variant.columns, self.plan.model(fit.seed))
        seconds = round(time.monotonic() - started, 3)
        return Result(fit.window, fit.seed, fit.variant.key, fit.variant.digest, found, seconds)
