"""The proof after a campaign: every score is that of one pass over the inputs of its partition."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from tests.chaos.campaign import Result
from tests.chaos.world import World
from tests.support.history.one_pass import OnePass, compare_features, pass_over
from tests.support.history.restore_log import RestoreLog, read_restores


@dataclass(frozen=True, slots=True)
class HistoryProof:
    """What was compared, and what differs.

    Attributes:
        one_pass: the stream against one pass over its inputs.
        restores: what the scorers logged.
        report: of ``verify --recompute 1``.
        trainer_rows: rows whose features were compared with the trainer's.
        trainer_differs: rows in which a bit differs, or which only one of them has.
        late_unchecked: partition and offset of restores that no mark confirmed, although scores
            with a history had been committed before.
    """

    one_pass: OnePass
    restores: RestoreLog
    report: dict[str, Any]
    trainer_rows: int = 0
    trainer_differs: int = 0
    late_unchecked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_recomputed(self) -> bool:
        """Whether ``verify --recompute`` reproduced every score, and the mark of each partition."""
        again = self.report["recompute"]
        return (
            bool(self.report["verified"])
            and again["compared"] == self.report["scores"]
            and again["marks_compared"] == len(self.one_pass.sums)
        )

    @property
    def faults(self) -> dict[str, object]:
        """What is wrong; empty if nothing is."""
        found: dict[str, object] = {
            **self.one_pass.faults,
            "mismatches": self.restores.mismatches,
            "different snapshots": self.restores.different,
            "unchecked restores after the first score": self.late_unchecked,
            "rows with other features than the trainer's": self.trainer_differs,
        }
        if not self.is_recomputed:
            found["verify --recompute"] = self.report["conclusion"], self.report["recompute"]
        return {name: what for name, what in found.items() if what}

    def summary(self) -> dict[str, Any]:
        """The figures."""
        restores, one_pass = self.restores, self.one_pass
        seconds = sorted(restores.seconds)
        return {
            "faults": self.faults,
            "restores": dict(restores.checks),
            "mismatches": len(restores.mismatches),
            "damaged_snapshots": restores.damaged,
            "restored_from_cache": restores.cached,
            "restores_retried": dict(Counter(text.split(": ")[-1] for text in restores.retries)),
            "replayed": restores.replayed,
            "most_replayed": restores.most_replayed,
            "restore_seconds_median": median(seconds) if seconds else None,
            "restore_seconds_max": seconds[-1] if seconds else None,
            "snapshots": dict(restores.snapshots),
            "different_snapshots": len(restores.different),
            "one_pass": {
                "inputs": one_pass.inputs,
                "scores": dict(one_pass.scores),
                "dead_letters": dict(one_pass.dead_letters),
                "redriven": one_pass.redriven,
                "differing": one_pass.differing,
                "out_of_order": one_pass.out_of_order,
                "without_one_outcome": one_pass.without_outcome,
                "check_sums_compared": len(one_pass.sums),
            },
            "verify_recompute": self.report["recompute"],
            "trainer": {"rows": self.trainer_rows, "differing": self.trainer_differs},
        }


def prove(world: World, result: Result, *, with_trainer: bool = True) -> HistoryProof:
    """Judge the topics and logs of a campaign that has ended.

    Args:
        world: its scorers have ended, and every input has its outcome.
        result: of the campaign.
        with_trainer: also compare with the trainer's features. That needs histories which begin
            where the trainer's pass does, with the first training row.
    """
    stream, models = world.history, world.models
    assert stream is not None
    one_pass = pass_over(world.settings(), models.store, models.histories, stream.models.spec)
    restores = read_restores(sorted(world.folder.glob("scorer-*.log")))
    rows = differs = 0
    if with_trainer:
        # Inputs up to the seed's time do not advance, so the first of several sees the later ones.
        seed = stream.models.seed
        trainer = stream.trainer if seed is None else stream.trainer.after(seed.facts.as_of)
        rows, differs = compare_features(one_pass, trainer.ids, trainer.values)
        differs += abs(len(trainer.ids) - rows)
    first = one_pass.first_with_history
    late = [(p, o) for p, o in restores.unchecked if o > first.get(p, o)]
    return HistoryProof(one_pass, restores, result.report, rows, differs, late)
