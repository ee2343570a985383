"""``stream-scorer dlq``: lists, shows and redrives dead letters, and lets scorers go on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stream_scorer.cli.console import aligned, count_noun, say
from stream_scorer.dead_letters.counts import LetterCounts
from stream_scorer.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterFilter,
    find_dead_letter,
    read_dead_letters,
)
from stream_scorer.dead_letters.inspection import Inspection, RecordFault, inspect_value, plain
from stream_scorer.dead_letters.redrive import redrive
from stream_scorer.dead_letters.redrive_plan import Redriven
from stream_scorer.errors import UsageError
from stream_scorer.kafka.topics import require_topics
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.text import as_text, printable
from stream_scorer.settings import GroupSettings
from stream_scorer.stream.rejection_guard import RejectionTally
from stream_scorer.stream.rejection_ledger import KafkaRejectionLedger

_REASON_CHARS: Final = 80  # of a reason in a table
_PREVIEW_BYTES: Final = 256
_AROUND_BYTES: Final = 32  # shown on either side of a fault further on
_LINE_BYTES: Final = 16


def run_list(args: argparse.Namespace) -> int:
    """``dlq list``: counts by stage and reason, then the newest dead letters."""
    settings = load_settings(GroupSettings)
    counts = LetterCounts(args.limit)
    for letter in read_dead_letters(settings, _selection(args)):
        counts.add(letter)
    if args.json:
        _say_json({"topic": settings.dlq_topic, **counts.as_json()})
    else:
        _print_list(counts)
    return 0


def _print_list(counts: LetterCounts) -> None:
    say(count_noun(counts.total, "dead letter"))
    if not counts.total:
        return
    rows = [[f"{count:,}", stage] for stage, count in counts.by_stage.most_common()]
    _say_table(rows, right=(0,))
    say()
    reasons = counts.reasons()
    rows = [["count", "stage", "reason (# and … stand for what differs)"]]
    rows += [[f"{r.count:,}", r.stage, _short(r.pattern)] for r in reasons[: counts.limit]]
    _say_table(rows, right=(0,))
    _say_more(len(reasons) - counts.limit, "reason")
    say()
    rows = [["dead letter", "written", "input", "stage", "reason"]]
    rows += [[x.place, _when(x.time), x.source, x.stage, _short(x.reason)] for x in counts.newest()]
    _say_table(rows)
    _say_more(counts.total - counts.limit, "older dead letter")


def _say_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Cells come from outside: what a terminal acts on is escaped."""
    for line in aligned([[printable(cell) for cell in row] for row in rows], right):
        say(line)


def _say_more(number: int, noun: str) -> None:
    if number > 0:
        say(f"and {count_noun(number, noun)} more: --limit N shows N, filters narrow it down")


def run_show(args: argparse.Namespace) -> int:
    """``dlq show PARTITION-OFFSET``: everything there is to know about one."""
    settings = load_settings(GroupSettings)
    partition, offset = args.place
    letter = find_dead_letter(settings, partition, offset)
    if letter is None:
        raise UsageError(
            f"no dead letter at {settings.dlq_topic} {partition}-{offset}; "
            "stream-scorer dlq list shows where they are"
        )
    inspection = inspect_letter(letter, settings)
    if args.json:
        _say_json(_full_json(letter, inspection))
        return 0
    for line in show_lines(settings.dlq_topic, letter, inspection):
        say(line)
    return 0


def show_lines(topic: str, letter: DeadLetter, inspection: Inspection) -> list[str]:
    """A dead letter for people; nothing in it reaches the terminal as a control character."""
    value, fault = letter.value, inspection.fault
    lines = [
        f"dead letter {topic} {letter.place}, written {_when(letter.time)}",
        f"input       {letter.source}",
        f"stage       {letter.stage}",
        f"reason      {letter.reason}",
        f"key         {as_text(letter.key) if letter.key is not None else '(none)'}",
        *(f"header      {name}: {as_text(content)}" for name, content in letter.headers),
    ]
    if letter.is_cut:
        lines.append("the value did not fit and was cut: it cannot be redriven")
    lines += ["", _verdict(fault)]
    if inspection.format:
        lines.append(f"{inspection.format}, {count_noun(len(inspection.fields), 'field')} read")
    for name, content in inspection.fields.items():
        mark = "  <-- here" if fault and name == fault.field else ""
        lines.append(f"  {name:<16} {content}{mark}")
    if fault and fault.field and fault.field not in inspection.fields:
        lines.append(f"  {fault.field:<16} <-- here")
    lines.append("the value is null" if value is None else count_noun(len(value), "byte"))
    lines += dump_lines(value or b"", fault.byte if fault else None)
    return [printable(line) for line in lines]


def _verdict(fault: RecordFault | None) -> str:
    if fault is None:
        return "decoding it now: no fault; it would be scored if it were redriven"
    where = f" (byte {fault.byte})" if fault.byte is not None else ""
    stage = f"{fault.stage}: " if fault.stage else ""
    return f"decoding it now: {stage}{fault.reason}{where}"


def run_redrive(args: argparse.Namespace) -> int:
    """``dlq redrive``: sends dead letters back to the input, each at most once."""
    settings = load_settings(GroupSettings)
    done = redrive(settings, _selection(args), dry_run=args.dry_run, again=args.again)
    if args.json:
        _say_json({"dry_run": args.dry_run, **_redriven_json(done)})
        return 0
    verb = "would be redriven" if args.dry_run else "redriven"
    say(f"{count_noun(done.redriven, 'dead letter')} {verb} to {settings.input_topic}")
    for stage, count in sorted(done.by_stage.items()):
        say(f"  {count:,} {printable(stage)}")
    for count, what in (
        (done.left, "left out by the filter, for a later redrive"),
        (done.earlier, "redriven earlier"),
        (done.impossible, "cannot be redriven: cut, or too large for the input"),
        (
            done.too_old,
            "left, too old to tell whether they were redriven before: --again takes them too",
        ),
    ):
        if count:
            say(f"{count:,} {what}")
    return 0


def run_allow(args: argparse.Namespace) -> int:
    """``dlq allow N``: after a stop for too many rejections, lets the next N through."""
    settings = load_settings(GroupSettings)
    topic = settings.input_topic
    partitions = require_topics(settings, [topic])[topic]
    ledger = KafkaRejectionLedger(settings, settings.kafka_group_id, topic)
    try:
        ledger.write(range(partitions), RejectionTally(allowance=args.rejections))
        written = ledger.read(range(partitions)).values()
    finally:
        ledger.close()
    if any(tally.allowance != args.rejections for tally in written) or not written:
        raise UsageError(f"no right to the group {settings.kafka_group_id}-rejections")
    if args.json:
        _say_json({"group": settings.kafka_group_id, "allowed": args.rejections})
    else:
        say(
            f"the counts of rejections begin anew, and each scorer of {settings.kafka_group_id} "
            f"that starts now lets {args.rejections:,} through before it counts"
        )
    return 0


def inspect_letter(letter: DeadLetter, settings: GroupSettings) -> Inspection:
    """A dead letter's value taken apart, with the registry's schemas if there is one."""
    with using_resolver(settings) as resolver:
        return inspect_value(letter.value, letter.headers, resolver)


def dump_lines(value: bytes, fault: int | None) -> list[str]:
    """The value's start, and what is around a fault further on; the fault's line is marked."""
    lines = hex_lines(value[:_PREVIEW_BYTES], mark=fault)
    if fault is not None and fault >= _PREVIEW_BYTES:
        start = max(_PREVIEW_BYTES, (fault - _AROUND_BYTES) // _LINE_BYTES * _LINE_BYTES)
        lines.append("  …")
        lines += hex_lines(value[start : fault + _AROUND_BYTES], start, fault)
        if fault >= len(value):
            lines.append(f"  {len(value):04x}  the value ends  <-- byte {fault}")
    elif len(value) > _PREVIEW_BYTES:
        lines.append("  …")
    return lines


def hex_lines(data: bytes, start: int = 0, mark: int | None = None) -> list[str]:
    """The bytes as offset, hexadecimal and printable characters, 16 to a line."""
    lines = []
    for begin in range(0, len(data), _LINE_BYTES):
        part = data[begin : begin + _LINE_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        line = f"  {start + begin:04x}  {part.hex(' '):<47}  {text}"
        if mark is not None and start + begin <= mark < start + begin + len(part):
            line += f"  <-- byte {mark}"
        lines.append(line)
    return lines


def _selection(args: argparse.Namespace) -> DeadLetterFilter:
    return DeadLetterFilter(args.stage, args.reason, args.since, args.until, args.partition)


def _full_json(letter: DeadLetter, inspection: Inspection) -> dict[str, Any]:
    fault = inspection.fault
    return {
        **letter.as_json(),
        "key": None if letter.key is None else as_text(letter.key),
        "headers": [[name, as_text(value)] for name, value in letter.headers],
        "format": inspection.format,
        "transaction": plain(inspection.fields) or None,
        "fault_now": fault and fault.reason,
        "fault": fault
        and {
            "stage": fault.stage,
            "reason": fault.reason,
            "field": fault.field,
            "byte": fault.byte,
        },
        "value_hex": None if letter.value is None else letter.value[:_PREVIEW_BYTES].hex(),
    }


def _redriven_json(done: Redriven) -> dict[str, Any]:
    return {
        "redriven": done.redriven,
        "left": done.left,
        "earlier": done.earlier,
        "impossible": done.impossible,
        "too_old": done.too_old,
        "by_stage": dict(done.by_stage),
    }


def _say_json(value: Any) -> None:
    """One line of ASCII: a JSON string may hold what a terminal acts on, an escape may not."""
    say(json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f"))


def _when(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARS else line[: _REASON_CHARS - 1] + "…"
