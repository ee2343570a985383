"""``stream-scorer history build``: computes card histories from retained inputs, and begins an era.

It runs beside the scorers, which go on with what they have and notice the new era by themselves.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from stream_scorer.cli.console import count_noun, note, say, say_json
from stream_scorer.cli.history.follow import follow
from stream_scorer.cli.history.opening import open_bundle, read_input_facts
from stream_scorer.cli.history.settings import HistoryCommandSettings
from stream_scorer.cli.progress import showing_progress
from stream_scorer.cli.times import format_time
from stream_scorer.errors import UsageError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.reader import time_offsets
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.store.history_era import Era, EraSeed
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.stopping import stop_flag
from stream_scorer.state.admin.beginnings import (
    Begin,
    FromInputs,
    FromSnapshots,
    OlderSnapshots,
    draft_era,
)
from stream_scorer.state.admin.build import BuiltPartition, HistoryBuilder
from stream_scorer.state.admin.coverage import WARM_DAYS, find_edges
from stream_scorer.state.eras import Eras, InputFacts, require_spec, seed_of
from stream_scorer.state.faults import RestoreAbandoned
from stream_scorer.state.input_log import InputLog, using_input_log
from stream_scorer.state.stored import StoredStates

EARLIEST: Final = "earliest"
SNAPSHOTS: Final = "snapshots"
"""The values of ``--from`` that are no time, as the command line has them."""

_SECONDS_A_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is going to be built."""

    bundle: Bundle
    draft: Era
    begin: Begin
    builder: HistoryBuilder
    total: int


def run_build(args: argparse.Namespace) -> int:
    """``history build``: exit code 0 once the era has begun."""
    _check_flags(args)
    settings = load_settings(HistoryCommandSettings)
    bundle = open_bundle(settings, args.model or args.seed)
    seed = _find_seed(settings, bundle, args.seed)
    facts = read_input_facts(settings)
    store = open_history_store(settings)
    with using_input_log(settings) as log, stop_flag() as is_stopping:
        plan = _plan(args, settings, bundle, seed, facts, store, log, is_stopping)
        started = time.monotonic()
        try:
            era, done = _build(plan, quiet=args.json)
        except RestoreAbandoned:
            note("stopped: no era has begun, and nothing has changed for the scorers")
            raise KeyboardInterrupt from None
        if not plan.builder.begin(era, plan.begin, done):
            raise UsageError(
                f"another process has begun era {era.number} meanwhile: look at "
                "`stream-scorer history status`, and run this again if it is still needed"
            )
        seconds = time.monotonic() - started
        if args.json:
            say_json(build_json(bundle, era, done, seconds))
        else:
            for line in build_lines(bundle, era, done, seconds):
                say(line)
        if args.follow:
            follow(plan.builder, store, era, settings, is_stopping)
    return 0


def _check_flags(args: argparse.Namespace) -> None:
    is_from_snapshots = args.start == SNAPSHOTS
    if is_from_snapshots and (args.seed or args.cold):
        raise UsageError(
            f"--from {SNAPSHOTS} goes on with a past: it takes no --seed and no --cold"
        )
    if args.before is not None and not is_from_snapshots:
        raise UsageError(f"--before needs --from {SNAPSHOTS}")


def _find_seed(
    settings: HistoryCommandSettings, bundle: Bundle, version: str | None
) -> EraSeed | None:
    """The seed of a version with the same history features as the bundle's.

    Raises:
        UsageError: it has none, or reads other features.
    """
    if version is None:
        return None
    of_seed = bundle if bundle.version == version else open_bundle(settings, version)
    if require_spec(of_seed).fingerprint != require_spec(bundle).fingerprint:
        raise UsageError(
            f"version {version} has other history features than {bundle.version}: its seed does "
            "not fit"
        )
    seed = seed_of(of_seed)
    if seed is None:
        raise UsageError(
            f"version {version} was published without a seed: name one with a seed, replay "
            f"{WARM_DAYS} days of inputs, or use --cold"
        )
    return seed


def _plan(
    args: argparse.Namespace,
    settings: HistoryCommandSettings,
    bundle: Bundle,
    seed: EraSeed | None,
    facts: InputFacts,
    store: HistoryStore,
    log: InputLog,
    is_stopping: Callable[[], bool],
) -> _Plan:
    spec = require_spec(bundle)
    previous = store.latest_era(spec.fingerprint)
    builder = HistoryBuilder(
        spec,
        store,
        _stored(store, spec, args.before),
        log,
        f"history build on {socket.gethostname()}",
        settings.history_compression,
        is_abandoned=is_stopping,
    )
    draft = draft_era(
        previous,
        spec,
        facts,
        seed=seed,
        max_keys=settings.history_max_keys,
        is_cold=args.cold,
        why=_why(args),
    )
    if args.start == SNAPSHOTS:
        if previous is None:
            raise UsageError(
                f"there is no card history of version {bundle.version} yet: build it from inputs"
            )
        Eras(store, facts, draft.max_keys).check(previous)
        keys = max(previous.max_keys, draft.max_keys)
        is_young = datetime.now(UTC) - previous.created < timedelta(days=WARM_DAYS)
        is_cold = previous.is_cold and is_young
        draft = replace(draft, seed=previous.seed, max_keys=keys, is_cold=is_cold)
        base = builder.restore_of(replace(previous, max_keys=keys))
        total = _count(_spans(log, facts, _newest(store, previous)))
        return _Plan(bundle, draft, FromSnapshots(base), builder, total)
    starts = None
    if args.start != EARLIEST:
        starts = _offsets_at(settings, facts, log, args.start)
    spans = _spans(log, facts, starts)
    check_past(log, spans, seed, is_cold=args.cold)
    return _Plan(
        bundle, draft, FromInputs(builder.restore_of(draft), starts), builder, _count(spans)
    )


def _stored(store: HistoryStore, spec: HistorySpec, before: int | None) -> StoredStates:
    if before is None:
        return StoredStates(store, spec)
    return OlderSnapshots(store, spec, datetime.fromtimestamp(before / 1000, UTC))


def _why(args: argparse.Namespace) -> str:
    start = args.start if isinstance(args.start, str) else format_time(args.start)
    words = ["history build", f"--from {start}"]
    words += [f"--before {format_time(args.before)}"] if args.before is not None else []
    words += [f"--seed {args.seed}"] if args.seed else []
    return " ".join([*words, "--cold"] if args.cold else words)


def _newest(store: HistoryStore, era: Era) -> dict[int, int]:
    return {p: names[0].next_offset for p, names in store.all_snapshots(era).items()}


def _offsets_at(
    settings: HistoryCommandSettings, facts: InputFacts, log: InputLog, time_ms: int
) -> Mapping[int, int]:
    spans = _spans(log, facts, None)
    return time_offsets(settings, settings.kafka_group_id, facts.topic, spans, time_ms)


def _spans(log: InputLog, facts: InputFacts, starts: Mapping[int, int] | None) -> Spans:
    """From the starts, or the first retained inputs, to the offsets of the group."""
    places = log.committed(range(facts.partition_count))
    found = {}
    for partition, place in places.items():
        low = log.first_retained(partition)
        if starts is not None:
            low = max(low, starts.get(partition, low))
        high = low if place.offset is None else place.offset
        found[partition] = Span(min(low, high), high)
    return found


def _count(spans: Spans) -> int:
    return sum(span.high - span.low for span in spans.values())


def check_past(log: InputLog, spans: Spans, seed: EraSeed | None, *, is_cold: bool) -> None:
    """Check that histories do not begin without a past by mistake.

    Raises:
        UsageError: they would; the message says what to do.
    """
    if is_cold:
        return
    edges = find_edges(log, spans)
    if seed is not None:
        missing = 0.0 if edges is None else (edges[0] - seed.as_of) / _SECONDS_A_DAY
        if missing > 1:
            note(
                f"the seed ends {missing:,.1f} days before the first input that is replayed: "
                "transactions between them are in neither"
            )
        return
    days = 0.0 if edges is None else (edges[1] - edges[0]) / _SECONDS_A_DAY
    if days < WARM_DAYS:
        raise UsageError(
            f"the inputs to replay cover {days:.1f} days, and history features look back "
            f"{WARM_DAYS}: scores would drift until the time windows have filled, and the model "
            "guard might reject a good model. Give --seed VN to begin with the records of that "
            "version's training, or --cold to begin without a past"
        )


def _build(plan: _Plan, *, quiet: bool) -> tuple[Era, list[BuiltPartition]]:
    done: list[BuiltPartition] = []
    rows = 0

    def on_built(built: BuiltPartition) -> None:
        done.append(built)
        if built.missing:
            note(
                f"partition {built.partition}: {count_noun(built.missing, 'offset')} before "
                f"{built.begin} are gone, and their inputs are left out"
            )

    with showing_progress("history build", quiet=quiet, what="inputs") as on_progress:

        def on_rows(count: int) -> None:
            nonlocal rows
            rows += count
            on_progress(rows, max(plan.total, rows))

        plan.builder.on_rows = on_rows
        era = plan.builder.build(plan.draft, plan.begin, on_built)
    return era, done


def build_json(
    bundle: Bundle, era: Era, done: list[BuiltPartition], seconds: float
) -> dict[str, Any]:
    """The result as JSON."""
    return {
        "model_version": bundle.version,
        "spec": era.spec,
        "era": era.number,
        "topic": era.topic,
        "seed": None if era.seed is None else era.seed.sha256,
        "is_cold": era.is_cold,
        "max_keys": era.max_keys,
        "seconds": round(seconds, 3),
        "partitions": [
            {
                "partition": built.partition,
                "begin_offset": built.begin,
                "next_offset": built.offset,
                "inputs": built.rows,
                "missing_offsets": built.missing,
                "keys": dict(built.keys),
                "check_sum": f"{built.check_sum:016x}",
            }
            for built in done
        ],
    }


def build_lines(bundle: Bundle, era: Era, done: list[BuiltPartition], seconds: float) -> list[str]:
    """The result for people."""
    rows = sum(built.rows for built in done)
    keys = {space: sum(b.keys[space] for b in done) for space in done[0].keys}
    rate = f", {rows / seconds:,.0f}/s" if rows and seconds > 0 else ""
    replayed = f"{count_noun(rows, 'input')} replayed in {seconds:,.0f} s{rate}"
    return [
        f"era {era.number} of the card history of version {bundle.version} has begun",
        f"{count_noun(len(done), 'partition')}, {replayed}",
        "keys: " + ", ".join(f"{count:,} {space}" for space, count in keys.items()),
        "scorers restore these histories before they use them; promote the version if it is not",
    ]
