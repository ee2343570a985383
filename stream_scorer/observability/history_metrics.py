"""The metrics of card histories: states, snapshots, restores, and what was special about rows.

Figures are sums over the process. No partition and no card is in a label.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_scorer.observability.collectors import start_at_zero

_STEP_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_LONG_SECONDS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_RESTORES: Final = ("checked", "unchecked", "mismatch", "failed")
_SNAPSHOTS: Final = ("created", "same", "different", "failed")
_REMOVALS: Final = ("expired", "limit")


class HistoryMetrics:
    """Card histories of this scorer. Restores and snapshots are counted in their threads."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"fraud_scorer_history_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"fraud_scorer_history_{name}_total", text, labels, registry=registry)

        def seconds(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            name = f"fraud_scorer_history_{name}_seconds"
            return Histogram(name, text, buckets=buckets, registry=registry)

        self._keys = gauge("keys", "Keys in the histories of the assigned partitions.", "space")
        self._bytes = gauge("bytes", "Memory of these histories.")
        self._debt = gauge(
            "replay_debt_records", "Inputs that successors would have to replay after a kill."
        )
        self._age = gauge(
            "snapshot_age_seconds",
            "Age of the oldest newest snapshot among partitions with inputs since.",
        )
        self._restoring = gauge(
            "restoring_partitions", "Assigned partitions that wait for their history."
        )
        self._longest = gauge(
            "longest_wait_seconds", "How long the first of these partitions has been waiting."
        )
        self._waiting = gauge(
            "model_waiting", "1 while the promoted version is not served: its history is not there."
        )
        self._snapshots = counter("snapshots", "Snapshots by result.", "result")
        self._snapshot_seconds = seconds("snapshot", "Time to write one.", _LONG_SECONDS)
        self._restores = counter("restores", "Restores of a partition by result.", "result")
        self._restore_seconds = seconds("restore", "Time of a restore.", _LONG_SECONDS)
        self._restored = counter("restored_records", "Inputs replayed in restores.")
        self._damaged = counter("damaged_snapshots", "Snapshots that could not be used.")
        self._late = counter("late", "Rows earlier than the last one of their key.")
        self._future = counter("future", "Rows more than a day ahead of their partition.")
        self._repeats = counter("repeat", "Rows with the id of the last one of their key.")
        self._misplaced = counter("misplaced", "Rows in another partition than their card's.")
        self._evicted = counter("evicted", "Records removed, by reason.", "reason")
        self._step = seconds("step", "Time of a batch's history step.", _STEP_SECONDS)
        self._counted: dict[str, int] = {}
        start_at_zero(self._restores, _RESTORES)
        start_at_zero(self._snapshots, _SNAPSHOTS)
        start_at_zero(self._evicted, _REMOVALS)

    def set_states(
        self, keys: Mapping[str, int], nbytes: int, debt: int, snapshot_age: float
    ) -> None:
        """Set the sums over the histories of this process."""
        self._keys.clear()
        for space, count in keys.items():
            self._keys.labels(space).set(count)
        self._bytes.set(nbytes)
        self._debt.set(debt)
        self._age.set(snapshot_age)

    def set_waiting(self, partitions: int, longest_seconds: float, *, is_model: bool) -> None:
        """Set how many partitions wait, for how long, and whether the promoted version does."""
        self._restoring.set(partitions)
        self._longest.set(longest_seconds)
        self._waiting.set(is_model)

    def count_rows(self, counts: Mapping[str, int]) -> None:
        """Count up to these numbers since the start.

        Args:
            counts: late, future, repeats, misplaced, expired and evicted.
        """
        known = {
            "late": self._late,
            "future": self._future,
            "repeats": self._repeats,
            "misplaced": self._misplaced,
            "expired": self._evicted.labels("expired"),
            "evicted": self._evicted.labels("limit"),
        }
        for name, metric in known.items():
            metric.inc(max(0, counts[name] - self._counted.get(name, 0)))
        self._counted = dict(counts)

    def stepped(self, seconds: float) -> None:
        """Observe a batch's step."""
        self._step.observe(seconds)

    def restored(self, result: str, seconds: float) -> None:
        """Count a restore that has ended, or an attempt that failed."""
        self._restores.labels(result).inc()
        self._restore_seconds.observe(seconds)

    def replayed(self, rows: int) -> None:
        """Count replayed inputs."""
        self._restored.inc(rows)

    def damaged_snapshot(self) -> None:
        """Count a snapshot that cannot be used."""
        self._damaged.inc()

    def snapshot(self, result: str, seconds: float) -> None:
        """Count a snapshot that was written, or an attempt that failed."""
        self._snapshots.labels(result).inc()
        self._snapshot_seconds.observe(seconds)
