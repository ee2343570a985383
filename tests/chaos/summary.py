"""The figures of campaigns, as JSON and as text."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.campaign import Result
from tests.chaos.history.proof import HistoryProof
from tests.chaos.plan import ONLY_KILLED

PROTOCOLS = ("classic", "consumer")
CONTROL = "control_without_exactly_once"
STOPPED = "stopped_by"


def summary(result: Result, proof: HistoryProof | None = None) -> dict[str, Any]:
    """The figures of one campaign."""
    recoveries = sorted(e.recovered for e in result.events if e.recovered is not None)
    report = result.report
    return {
        "verified": result.verified,
        "inputs": report["inputs"],
        "scores": report["scores"],
        "dead_letters": report["dead_letters"],
        "audit": report["faults"],
        "faults": dict(Counter(event.name for event in result.events)),
        "processes_killed": sum(code == -signal.SIGKILL for code in result.exits),
        "exits": {str(code): n for code, n in sorted(Counter(result.exits).items())},
        "ended_with_a_traceback": list(result.tracebacks),
        "recovery_seconds_median": round(recoveries[len(recoveries) // 2], 1),
        "recovery_seconds_max": round(recoveries[-1], 1),
        "largest_lag": max(sample.lag for sample in result.samples),
        "largest_scorer_mib": round(result.largest_scorer_bytes / 2**20),
        "seconds": round(result.seconds),
        "digest": report.get("digest"),
        **({} if proof is None else _history_figures(result, proof)),
    }


def _history_figures(result: Result, proof: HistoryProof) -> dict[str, Any]:
    return {
        "history": proof.summary(),
        "seconds_from_kill_of_the_only_scorer_to_commit": _only_scorer(result),
    }


def _only_scorer(result: Result) -> list[float]:
    """Seconds from a kill of the only scorer to the next commit."""
    killed = [event for event in result.events if event.name == ONLY_KILLED]
    return [round(e.ended - e.begun + (e.recovered or 0.0), 1) for e in killed]


def as_text(found: Mapping[str, Any]) -> str:
    """What the campaigns found, for people."""
    names = [name for name in (*PROTOCOLS, CONTROL) if name in found]
    lines = [line for name in names for line in _campaign_lines(name, found[name])]
    return "\n".join([*lines, "passed" if found["passed"] else "FAILED"]) + "\n"


def _campaign_lines(name: str, figures: Mapping[str, Any]) -> Iterator[str]:
    yield name.replace("_", " ")
    if STOPPED in figures:
        yield f"  stopped: {figures[STOPPED].splitlines()[0]}"
        return
    yield (
        f"  {figures['inputs']:,} inputs, {figures['scores']:,} scores, "
        f"{figures['dead_letters']:,} dead letters in {figures['seconds']:,} s"
    )
    faults = figures["faults"]
    yield f"  {figures['processes_killed']} scorers killed, {sum(faults.values())} faults:"
    yield "    " + ", ".join(f"{count} x {what}" for what, count in faults.items())
    wrong = ", ".join(f"{what} {count}" for what, count in figures["audit"].items())
    yield f"  audit: {'verified' if figures['verified'] else 'NOT verified'} ({wrong})"
    yield (
        f"  recovery: median {figures['recovery_seconds_median']} s, longest "
        f"{figures['recovery_seconds_max']} s; largest scorer {figures['largest_scorer_mib']} MiB"
    )
    if "history" in figures:
        yield from _history_lines(figures["history"])


def _history_lines(history: Mapping[str, Any]) -> Iterator[str]:
    again, one_pass, trainer = (
        history[name] for name in ("verify_recompute", "one_pass", "trainer")
    )
    checks = ", ".join(f"{count} {what}" for what, count in history["restores"].items())
    yield (
        f"  restores: {checks}; {history['replayed']:,} inputs replayed, at most "
        f"{history['most_replayed']:,} at once; median {history['restore_seconds_median']} s"
    )
    yield (
        f"  recomputed: {again['compared']:,} scores, {again['not_reproduced']} differ; one pass: "
        f"{one_pass['differing']} differ; trainer: {trainer['rows']:,} rows, "
        f"{trainer['differing']} differ"
    )
    yield f"  what is wrong with the histories: {history['faults'] or 'nothing'}"
