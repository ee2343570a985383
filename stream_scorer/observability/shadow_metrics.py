"""The metrics of the challenger: what it scores, what is left out, and how it differs."""

from __future__ import annotations

import threading

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from stream_scorer.observability.collectors import start_at_zero
from stream_scorer.shadow.figures import BINS, DECISIONS, Figures, no_figures
from stream_scorer.shadow.ports import SHED, Shed


class ShadowMetrics:
    """Implements :class:`~stream_scorer.shadow.ports.ShadowObserver`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"fraud_scorer_shadow_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"fraud_scorer_shadow_{name}_total", text, labels, registry=registry)

        self._version = gauge("version", "1 for the version that scores in shadow.", "version")
        self._rows = counter("rows", "Transactions that the challenger scored.")
        self._seconds = counter("seconds", "Time that the challenger took to score them.")
        self._shed = counter("shed", "Transactions that it left out, by reason.", "reason")
        self._errors = counter("errors", "Transactions that it could not score.")
        self._refusals = counter(
            "refusals", "Challengers that could not be loaded, or failed and were put aside."
        )
        self._moves = counter(
            "decisions",
            "Transactions by the champion's decision and the challenger's.",
            "champion",
            "challenger",
        )
        self._bins = counter("score_bin", "Scores of either model by bin.", "model", "bin")
        self._agreement = gauge(
            "agreement", "Share of equal decisions since this challenger was loaded."
        )
        self._psi = gauge(
            "psi", "Stability index of its scores against the champion's, since it was loaded."
        )
        self._disabled = gauge(
            "disabled", "1 if a challenger hung, so that none scores here until a restart."
        )
        self._loaded: str | None = None
        self._figures = no_figures()
        self._lock = threading.Lock()
        start_at_zero(self._shed, SHED)
        for one in DECISIONS:
            for other in DECISIONS:
                self._moves.labels(one, other)
        for model in ("champion", "challenger"):
            for number in range(BINS):
                self._bins.labels(model, str(number))

    def loaded(self, version: str | None) -> None:
        """This version scores in shadow from now on; None: none does."""
        with self._lock:
            if self._loaded not in (None, version):
                self._version.remove(self._loaded)
            if version is not None:
                self._version.labels(version).set(1)
            self._loaded, self._figures = version, no_figures()
            self._agreement.set(float("nan"))
            self._psi.set(float("nan"))

    def refused(self) -> None:
        """Count a version that is not used."""
        self._refusals.inc()

    def scored(self, figures: Figures, seconds: float) -> None:
        """Count transactions that were scored."""
        self._rows.inc(figures.rows)
        self._seconds.inc(seconds)
        for one, moved in zip(DECISIONS, figures.moves.tolist(), strict=True):
            for other, rows in zip(DECISIONS, moved, strict=True):
                if rows:
                    self._moves.labels(one, other).inc(rows)
        counted = {"champion": figures.champion, "challenger": figures.challenger}
        for model, counts in counted.items():
            for number in np.flatnonzero(counts).tolist():
                self._bins.labels(model, str(number)).inc(int(counts[number]))
        with self._lock:
            self._figures = self._figures + figures
            self._agreement.set(self._figures.agreement)
            self._psi.set(self._figures.stability_index)

    def shed(self, reason: Shed, rows: int) -> None:
        """Count transactions that were left out."""
        self._shed.labels(reason).inc(rows)

    def failed(self, rows: int) -> None:
        """Count transactions that could not be scored."""
        self._errors.inc(rows)

    def disabled(self) -> None:
        """A challenger hung."""
        self._disabled.set(1)
