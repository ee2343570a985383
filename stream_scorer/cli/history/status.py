"""``stream-scorer history status``: what is stored of each partition's card history."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from stream_scorer.cli.console import aligned, say, say_json
from stream_scorer.cli.history.opening import open_bundle, read_input_facts, require_era
from stream_scorer.cli.history.settings import HistoryCommandSettings
from stream_scorer.cli.times import format_seconds
from stream_scorer.errors import ScorerError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.runtime.json_fields import format_time
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.text import printable
from stream_scorer.state.admin.status import PartitionStatus, read_status
from stream_scorer.state.eras import Eras
from stream_scorer.state.input_log import using_input_log


def run_status(args: argparse.Namespace) -> int:
    """``history status``: exit code 1 if the era cannot be used with the input topic."""
    settings = load_settings(HistoryCommandSettings)
    bundle = open_bundle(settings, args.model)
    store = open_history_store(settings)
    era = require_era(store, bundle)
    facts = read_input_facts(settings)
    problem = None
    try:
        Eras(store, facts, era.max_keys).check(era)
    except ScorerError as error:
        problem = str(error)
    with using_input_log(settings) as log:
        found = list(read_status(store, era, log))
    now = datetime.now(UTC)
    if args.json:
        say_json(status_json(bundle, era, settings.kafka_group_id, found, problem, now))
    else:
        for line in status_lines(bundle, era, settings.kafka_group_id, found, problem, now):
            say(line)
    return 0 if problem is None else 1


def status_json(
    bundle: Bundle,
    era: Era,
    group: str,
    partitions: Sequence[PartitionStatus],
    problem: str | None,
    now: datetime,
) -> dict[str, Any]:
    """The status as JSON."""
    return {
        "model_version": bundle.version,
        "spec": era.spec,
        "group": group,
        "era": {
            "number": era.number,
            "topic": era.topic,
            "created": format_time(era.created),
            "why": era.why,
            "seed": None if era.seed is None else era.seed.sha256,
            "max_keys": era.max_keys,
            "is_cold": era.is_cold,
            "begin": list(era.begin),
        },
        "problem": problem,
        "replay_debt": sum(status.debt or 0 for status in partitions),
        "partitions": [status.as_json(now) for status in partitions],
    }


def status_lines(
    bundle: Bundle,
    era: Era,
    group: str,
    partitions: Sequence[PartitionStatus],
    problem: str | None,
    now: datetime,
) -> list[str]:
    """The status for people."""
    seed = "no seed" if era.seed is None else f"seed {era.seed.sha256[:16]}"
    cold = ", begun without a past" if era.is_cold else ""
    begun = f"era {era.number} of {era.topic}, begun {format_time(era.created)}"
    lines = [
        f"version {bundle.version}, history features {era.spec[:16]}",
        f"{begun}: {printable(era.why)} ({seed}{cold})",
    ]
    if problem is not None:
        lines.append(f"PROBLEM: {printable(problem)}")
    head = ["partition", "committed", "mark", "snapshot", "age", "replay debt", "keys", "bytes"]
    rows = [head, *(_row(status, now) for status in partitions)]
    lines += ["", *aligned(rows, right=(0, 1, 3, 4, 5, 6, 7)), ""]
    lines.append(
        f"{sum(status.debt or 0 for status in partitions):,} offsets of group {printable(group)} "
        "are not in the newest snapshots; the next owners of the partitions replay them"
    )
    if damaged := sum(status.damaged for status in partitions):
        lines.append(f"{damaged:,} newer snapshots cannot be read; older ones are used instead")
    if missing := [str(s.partition) for s in partitions if s.snapshot is None]:
        lines.append(f"no snapshot yet: partition {', '.join(missing)}")
    return lines


def _row(status: PartitionStatus, now: datetime) -> list[str]:
    committed = "-" if status.committed is None else str(status.committed)
    debt = "-" if status.debt is None else f"{status.debt:,}"
    found, age = status.snapshot, status.age_seconds(now)
    own = [str(status.partition), committed, status.mark_text]
    if found is None or age is None:
        return [*own, "-", "-", debt, "-", "-"]
    keys = sum(space.keys for space in found.body.spaces)
    at = str(found.header.next_offset)
    return [*own, at, format_seconds(age), debt, f"{keys:,}", f"{found.body.bytes:,}"]
