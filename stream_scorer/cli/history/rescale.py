"""``stream-scorer history rescale``: moves card histories to a topic that got more partitions."""

from __future__ import annotations

import argparse
from typing import Final

from stream_scorer.cli.console import count_noun, note, say, say_json
from stream_scorer.cli.history.opening import open_bundle, read_input_facts, require_era
from stream_scorer.cli.history.settings import HistoryCommandSettings
from stream_scorer.cli.progress import counting
from stream_scorer.errors import UsageError
from stream_scorer.kafka.admin import log_spans
from stream_scorer.kafka.clients import open_admin
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.process.group_report import report_group
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings
from stream_scorer.state.admin.rescale import Rescale, Rescaled
from stream_scorer.state.eras import Eras, InputFacts, require_spec
from stream_scorer.state.input_log import using_input_log
from stream_scorer.state.restore import PartitionRestore
from stream_scorer.state.stored import StoredStates

_REQUEST_SECONDS: Final = 10.0


def run_rescale(args: argparse.Namespace) -> int:
    """``history rescale``: exit code 0 once the new era has begun."""
    settings = load_settings(HistoryCommandSettings)
    bundle = open_bundle(settings, args.model)
    store = open_history_store(settings)
    era = require_era(store, bundle)
    facts = read_input_facts(settings)
    check_topic(era, facts)
    if (busy := find_unscored(settings, era, facts)) is not None:
        raise UsageError(busy)
    spec = require_spec(bundle)
    with (
        using_input_log(settings) as log,
        counting(
            "partitions restored and stored", era.partition_count + facts.partition_count, int
        ) as show,
    ):
        restore = PartitionRestore(spec, era, StoredStates(store, spec), log)
        work = Rescale(restore, Eras(store, facts, era.max_keys), facts.partition_count, show)
        why = f"history rescale from {era.partition_count} to {facts.partition_count} partitions"
        done = work.run(why, lambda: find_unscored(settings, era, facts) is None)
    if args.json:
        say_json(
            {
                "era": done.era.number,
                "partitions": done.era.partition_count,
                "records": done.total,
                "misplaced": done.misplaced,
                "dropped": done.dropped,
            }
        )
    else:
        _report(era, done)
    return 0


def check_topic(era: Era, facts: InputFacts) -> None:
    """Check that the era is one of this topic, whatever its partition count.

    Raises:
        UsageError: it is not.
    """
    if era.topic != facts.topic or (
        era.topic_id and facts.topic_id and era.topic_id != facts.topic_id
    ):
        raise UsageError(
            f"era {era.number} of the card history belongs to another topic than {facts.topic} "
            "as it is now: begin a new era with `stream-scorer history build`"
        )


def find_unscored(settings: GroupSettings, era: Era, facts: InputFacts) -> str | None:
    """Why records cannot be moved now; None if nothing is on its way.

    Raises:
        RetryableError, FatalError: a request failed.
    """
    added = range(era.partition_count, facts.partition_count)
    spans = log_spans(open_admin(settings), facts.topic, added, _REQUEST_SECONDS)
    if used := [str(p) for p, span in spans.items() if span.high > span.low]:
        return (
            f"the added partitions of {facts.topic} have records already ({', '.join(used)}): some "
            "cards have transactions in two partitions now, in an order that nobody knows. Begin "
            "a new era with `stream-scorer history build`"
        )
    report = report_group(settings)
    if report.problem is not None:
        return report.problem
    if report.unread:
        return (
            f"{count_noun(report.unread, 'input')} of {facts.topic} are not scored yet: stop the "
            "producers, and let the scorers finish"
        )
    return None


def _report(era: Era, done: Rescaled) -> None:
    say(
        f"era {done.era.number} of the card history has begun: {count_noun(done.total, 'record')} "
        f"moved from {era.partition_count} to {done.era.partition_count} partitions"
    )
    if done.misplaced:
        note(
            f"{count_noun(done.misplaced, 'record')} were not in the partition of their card "
            f"before; of {done.dropped:,} keys that were in two partitions, the record that was "
            "used last was kept"
        )
    say("start the scorers, then the producers")
