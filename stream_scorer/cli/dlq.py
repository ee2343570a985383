"""``stream-scorer dlq``: lists, shows and redrives dead letters, and lifts rejection limits."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from stream_scorer.cli.console import aligned, count_noun, plural, say
from stream_scorer.cli.times import format_time
from stream_scorer.dead_letters.counts import DeadLetterCounts
from stream_scorer.dead_letters.dead_letter import (
    DeadLetter,
    DeadLetterFilter,
    find_dead_letter,
    read_dead_letters,
)
from stream_scorer.dead_letters.inspection import Inspection, RecordFault, inspect_value, plain
from stream_scorer.dead_letters.redrive import redrive
from stream_scorer.dead_letters.redrive_plan import Redriven
from stream_scorer.dead_letters.skip import skip
from stream_scorer.errors import UsageError
from stream_scorer.kafka.topics import require_topics
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.text import as_text, printable
from stream_scorer.settings import GroupSettings
from stream_scorer.stream.rejections.guard import RejectionTally
from stream_scorer.stream.rejections.ledger import KafkaRejectionLedger

_REASON_CHARS: Final = 80  # length limit of a reason in a table
_PREVIEW_BYTES: Final = 256
_AROUND_BYTES: Final = 32  # shown on either side of a fault after the preview
_LINE_BYTES: Final = 16


def run_list_dead_letters(args: argparse.Namespace) -> int:
    """``dlq list``: counts by stage and reason, then the newest dead letters."""
    settings = load_settings(GroupSettings)
    counts = DeadLetterCounts(args.limit)
    for dead_letter in read_dead_letters(settings, _selection(args)):
        counts.add(dead_letter)
    if args.json:
        _say_json({"topic": settings.dlq_topic, **counts.as_json()})
    else:
        _print_list(counts)
    return 0


def _print_list(counts: DeadLetterCounts) -> None:
    say(count_noun(counts.total, "dead letter"))
    if not counts.total:
        return
    rows = [[f"{count:,}", stage] for stage, count in counts.by_stage.most_common()]
    _say_table(rows, right=(0,))
    say()
    reasons = counts.reasons()
    rows = [["count", "stage", "reason (# and … replace the parts that differ)"]]
    rows += [[f"{r.count:,}", r.stage, _short(r.pattern)] for r in reasons[: counts.limit]]
    _say_table(rows, right=(0,))
    _say_more(len(reasons) - counts.limit, "reason")
    say()
    rows = [["dead letter", "written", "input", "stage", "reason"]]
    rows += [[x.place, _when(x.time), x.source, x.stage, _short(x.reason)] for x in counts.newest()]
    _say_table(rows)
    _say_more(counts.total - counts.limit, "older dead letter")


def _say_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print a table; control characters are escaped, because cells contain untrusted text."""
    for line in aligned([[printable(cell) for cell in row] for row in rows], right):
        say(line)


def _say_more(number: int, noun: str) -> None:
    if number > 0:
        say(f"and {number:,} more {plural(noun, number)}: use --limit N to show N, or filters")


def run_show(args: argparse.Namespace) -> int:
    """``dlq show PARTITION-OFFSET``: all details of one dead letter."""
    settings = load_settings(GroupSettings)
    partition, offset = args.place
    dead_letter = find_dead_letter(settings, partition, offset)
    if dead_letter is None:
        raise UsageError(
            f"no dead letter at {settings.dlq_topic} {partition}-{offset}; "
            "list them with: stream-scorer dlq list"
        )
    inspection = inspect_dead_letter(dead_letter, settings)
    if args.json:
        _say_json(_full_json(dead_letter, inspection))
        return 0
    for line in show_lines(settings.dlq_topic, dead_letter, inspection):
        say(line)
    return 0


def show_lines(topic: str, dead_letter: DeadLetter, inspection: Inspection) -> list[str]:
    """The lines of ``dlq show``, with control characters escaped."""
    value, fault = dead_letter.value, inspection.fault
    lines = [
        f"dead letter {topic} {dead_letter.place}, written {_when(dead_letter.time)}",
        f"input       {dead_letter.source}",
        f"stage       {dead_letter.stage}",
        f"reason      {dead_letter.reason}",
        f"key         {as_text(dead_letter.key) if dead_letter.key is not None else '(none)'}",
        *(f"header      {name}: {as_text(content)}" for name, content in dead_letter.headers),
    ]
    if dead_letter.omitted is not None:
        lines.append(f"the input's headers were left out: {dead_letter.omitted}")
    if dead_letter.fault is not None:
        lines.append(f"this dead letter cannot be redriven: {dead_letter.fault}")
    if dead_letter.is_cut:
        lines.append("the value was too large and was truncated: it cannot be redriven")
    lines += ["", _verdict(fault)]
    if inspection.format:
        lines.append(f"{inspection.format}, {count_noun(len(inspection.fields), 'field')} decoded")
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
        return "decoding now: no fault; a redrive would score it"
    where = f" (byte {fault.byte})" if fault.byte is not None else ""
    stage = f"{fault.stage}: " if fault.stage else ""
    return f"decoding now: {stage}{fault.reason}{where}"


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
    for count, text in (
        (done.left, "left out by the filter; a later redrive can send them"),
        (done.earlier, "redriven earlier"),
        (
            done.impossible,
            "cannot be redriven: truncated, unreadable, or too large for the input topic",
        ),
        (
            done.too_old,
            "skipped: too old to know whether they were redriven before (use --again to send them)",
        ),
    ):
        if count:
            say(f"{count:,} {text}")
    return 0


def run_skip(args: argparse.Namespace) -> int:
    """``dlq skip PARTITION-OFFSET``: passes a batch of the input that scorers cannot read."""
    settings = load_settings(GroupSettings)
    done = skip(settings, *args.place)
    if args.json:
        _say_json(asdict(done))
        return 0
    how = "" if done.has_values else ", without key and value: they cannot be read at all"
    say(f"{count_noun(done.dead_letters, 'dead letter')} written to {settings.dlq_topic}{how}")
    say(
        f"group {settings.kafka_group_id} continues at offset {done.next_offset} of "
        f"{settings.input_topic} partition {done.partition}: start the scorers again"
    )
    return 0


def run_allow(args: argparse.Namespace) -> int:
    """``dlq allow N``: allows N more rejections after scorers stopped for too many of them."""
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
        raise UsageError(f"not authorized for group {settings.kafka_group_id}-rejections")
    if args.json:
        _say_json({"group": settings.kafka_group_id, "allowed": args.rejections})
    else:
        allowed = count_noun(args.rejections, "rejection")
        say(
            f"the rejection counts were reset; each scorer of {settings.kafka_group_id} that "
            f"starts from now on accepts {allowed} before it counts"
        )
    return 0


def inspect_dead_letter(dead_letter: DeadLetter, settings: GroupSettings) -> Inspection:
    """Inspect a dead letter's value, with the schemas of the registry if one is configured."""
    with using_resolver(settings) as resolver:
        return inspect_value(dead_letter.value, dead_letter.headers, resolver)


def dump_lines(value: bytes, fault: int | None) -> list[str]:
    """Hex lines of the value's beginning and of the bytes around a fault, which is marked."""
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
    """The bytes as offset, hexadecimal and printable characters, 16 per line."""
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


def _full_json(dead_letter: DeadLetter, inspection: Inspection) -> dict[str, Any]:
    fault = inspection.fault
    return {
        **dead_letter.as_json(),
        "key": None if dead_letter.key is None else as_text(dead_letter.key),
        "headers": [[name, as_text(value)] for name, value in dead_letter.headers],
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
        "value_hex": None
        if dead_letter.value is None
        else dead_letter.value[:_PREVIEW_BYTES].hex(),
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
    """Print one line of ASCII JSON: control characters are escaped, to protect terminals."""
    say(json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f"))


def _when(millis: int) -> str:
    return format_time(millis, "%Y-%m-%d %H:%M:%SZ")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARS else line[: _REASON_CHARS - 1] + "…"
