"""``stream-scorer history show CARD1``: what the newest snapshot says about a card."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from stream_scorer.cli.console import count_noun, say, say_json
from stream_scorer.cli.history.opening import open_bundle, require_era
from stream_scorer.cli.history.settings import HistoryCommandSettings
from stream_scorer.cli.times import format_seconds, format_transaction_time
from stream_scorer.errors import UsageError
from stream_scorer.features.history.card_record import CardRecord, find_card
from stream_scorer.features.history.codec import Snapshot
from stream_scorer.features.history.kinds import span_name
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.runtime.json_fields import format_time
from stream_scorer.runtime.settings import load_settings
from stream_scorer.state.eras import require_spec
from stream_scorer.state.placement import partitions_of
from stream_scorer.state.stored import StoredStates

_NEWEST = 2**63 - 1


def run_show(args: argparse.Namespace) -> int:
    """``history show CARD1``: the records of a card; only the artifact store is asked."""
    settings = load_settings(HistoryCommandSettings)
    bundle = open_bundle(settings, args.model)
    spec = require_spec(bundle)
    store = open_history_store(settings)
    era = require_era(store, bundle)
    partition = int(partitions_of(np.array([args.card], np.int64), era.partition_count)[0])
    snapshot = next(StoredStates(store, spec).candidates(era, partition, _NEWEST), None)
    if snapshot is None:
        raise UsageError(
            f"card {args.card} belongs to partition {partition}, of which {store.where} has no "
            f"readable snapshot in era {era.number}: see `stream-scorer history status`"
        )
    records = find_card(spec, snapshot.records, args.card)
    if args.json:
        say_json(show_json(args.card, era, snapshot, records))
    else:
        for line in show_lines(args.card, era, snapshot, records, datetime.now(UTC)):
            say(line)
    return 0


def show_json(
    card: int, era: Era, snapshot: Snapshot, records: Sequence[CardRecord]
) -> dict[str, Any]:
    """The records as JSON."""
    header = snapshot.header
    return {
        "card1": card,
        "era": era.number,
        "partition": header.partition,
        "partition_count": era.partition_count,
        "snapshot": {
            "next_offset": header.next_offset,
            "created": format_time(header.created),
            "clock": snapshot.body.clock,
        },
        "records": [record.as_json() for record in records],
    }


def show_lines(
    card: int, era: Era, snapshot: Snapshot, records: Sequence[CardRecord], now: datetime
) -> list[str]:
    """The records for people."""
    header = snapshot.header
    age = format_seconds(max(0.0, (now - header.created).total_seconds()))
    where = f"card1 {card}: partition {header.partition} of {era.partition_count}, era {era.number}"
    lines = [f"{where}, inputs before offset {header.next_offset} (snapshot of {age} ago)"]
    if not records:
        lines.append("no transaction of this card is known there")
        return lines
    lines.append("times are TransactionDT: days and time of day since the start of the data")
    for record in records:
        lines += ["", *_record_lines(record)]
    return lines


def _record_lines(record: CardRecord) -> list[str]:
    head = f"{record.space} {record.rest:016x}: {count_noun(record.count, 'transaction')}"
    last = format_transaction_time(record.last_time)
    spread = f"mean {_number(record.mean)}, standard deviation {_number(record.deviation)}"
    pairs = [
        ("first", format_transaction_time(record.first_time)),
        ("last", f"{last}, transaction {record.last_transaction}"),
        ("amount", f"{spread}, largest {_number(record.largest)}, sum {_number(record.amount)}"),
    ]
    for seconds, decayed in record.decayed.items():
        text = f"{_number(decayed.count)} transactions, amount {_number(decayed.amount)}"
        pairs.append((f"half-life {span_name(seconds)}", text))
    pairs += [
        (f"mean {column}", f"{_number(mean.mean)} ({count_noun(mean.values, 'value')})")
        for column, mean in record.means.items()
    ]
    pairs += [(f"last {column}", _number(value)) for column, value in record.lasts.items()]
    pairs += [
        (f"different {column}", "4 or more" if places == 4 else str(places))
        for column, places in record.different.items()
    ]
    lines = [head, *(f"  {name:<24} {text}" for name, text in pairs)]
    if record.recent:
        lines.append("  last transactions, newest first:")
        lines += [
            f"    {format_transaction_time(past.time):<20} {past.amount:>12,.2f}"
            for past in record.recent
        ]
    return lines


def _number(value: float) -> str:
    return f"{value:,.6g}"
