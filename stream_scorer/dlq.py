"""``stream-scorer dlq``: lists, shows and redrives dead letters."""

from __future__ import annotations

import argparse
from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any, Final

from schemas.batch import TransactionBatch
from stream_scorer.console import aligned, count_noun, say, say_json
from stream_scorer.dead_letters import (
    DeadLetter,
    Selection,
    find_dead_letter,
    read_dead_letters,
)
from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.outcome_reader import as_text
from stream_scorer.redrive import Redriven, redrive
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings

_REASON_CHARS: Final = 80  # of a reason in a table
_PREVIEW_BYTES: Final = 256


def run_list(args: argparse.Namespace) -> int:
    """``dlq list``: counts by stage and reason, then the newest dead letters."""
    settings = load_settings(GroupSettings)
    selection = Selection(args.stage, args.reason)
    counts: Counter[tuple[str, str]] = Counter()
    newest: deque[DeadLetter] = deque(maxlen=args.limit)
    for letter in read_dead_letters(settings):
        if letter in selection:
            counts[letter.stage, letter.reason] += 1
            newest.append(letter)
    if args.json:
        say_json(
            {
                "topic": settings.dlq_topic,
                "dead_letters": counts.total(),
                "counts": [
                    {"stage": stage, "reason": reason, "count": count}
                    for (stage, reason), count in counts.most_common()
                ],
                "newest": [letter.as_json() for letter in newest],
            }
        )
        return 0
    _print_list(counts, newest)
    return 0


def _print_list(counts: Counter[tuple[str, str]], newest: deque[DeadLetter]) -> None:
    say(count_noun(counts.total(), "dead letter"))
    rows = [
        [f"{count:,}", stage, _short(reason)]
        for (stage, reason), count in counts.most_common(len(newest))
    ]
    for line in aligned(rows, right=(0,)):
        say(line)
    if newest:
        say()
        rows = [["dead letter", "written", "input", "stage", "reason"]]
        rows += [[x.place, _when(x.time), x.source, x.stage, _short(x.reason)] for x in newest]
        for line in aligned(rows):
            say(line)


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
    decoded, fault = decode_as_far_as_possible(letter, settings)
    if args.json:
        say_json(_full_json(letter, decoded, fault))
        return 0
    say(f"dead letter {settings.dlq_topic} {letter.place}, written {_when(letter.time)}")
    say(f"input       {letter.source}")
    say(f"stage       {letter.stage}")
    say(f"reason      {letter.reason}")
    say(f"key         {as_text(letter.key) if letter.key is not None else '(none)'}")
    for name, value in letter.headers:
        say(f"header      {name}: {as_text(value)}")
    if letter.is_cut:
        say("the value did not fit and was cut: it cannot be redriven")
    say()
    if fault:
        say(f"decoding it now: {fault}")
    for name, value in (decoded or {}).items():
        say(f"  {name:<16} {value}")
    for line in hex_lines((letter.value or b"")[:_PREVIEW_BYTES]):
        say(line)
    size = len(letter.value or b"")
    say("the value is null" if letter.value is None else count_noun(size, "byte"))
    return 0


def run_redrive(args: argparse.Namespace) -> int:
    """``dlq redrive``: sends dead letters back to the input, each at most once."""
    settings = load_settings(GroupSettings)
    done = redrive(settings, Selection(args.stage, args.reason), dry_run=args.dry_run)
    if args.json:
        say_json({"dry_run": args.dry_run, **_redriven_json(done)})
        return 0
    verb = "would be redriven" if args.dry_run else "redriven"
    say(f"{count_noun(done.redriven, 'dead letter')} {verb} to {settings.input_topic}")
    for stage, count in sorted(done.by_stage.items()):
        say(f"  {count:,} {stage}")
    for count, what in (
        (done.left, "left out by the filter, for a later redrive"),
        (done.impossible, "cannot be redriven: cut, or too large for the input"),
    ):
        if count:
            say(f"{count:,} {what}")
    return 0


def decode_as_far_as_possible(
    letter: DeadLetter, settings: GroupSettings
) -> tuple[dict[str, Any] | None, str | None]:
    """The transaction in a dead letter, without its missing columns, and what is wrong with it.

    For JSON the object as it stands, whatever its faults.
    """
    from schemas.json_codec import parse_json
    from schemas.transaction_codec import TransactionDecoder

    try:
        with using_resolver(settings) as resolver:
            decoder = TransactionDecoder(resolver)
            batch, _, rejections = decoder.decode([letter.value], [letter.headers])
    except RetryableError as error:
        return None, str(error)
    if not rejections:
        return _present(batch), None
    fault = f"{rejections[0].stage}: {rejections[0].reason}"
    try:
        parsed = parse_json(letter.value or b"")
    except ValueError:
        return None, fault
    return (parsed if isinstance(parsed, dict) else None), fault


def _present(batch: TransactionBatch) -> dict[str, Any]:
    return {name: value for name, value in batch.row(0).items() if value is not None}


def hex_lines(data: bytes) -> list[str]:
    """The bytes as offset, hexadecimal and printable characters, 16 to a line."""
    lines = []
    for start in range(0, len(data), 16):
        part = data[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"  {start:04x}  {part.hex(' '):<47}  {text}")
    return lines


def _full_json(
    letter: DeadLetter, decoded: dict[str, Any] | None, fault: str | None
) -> dict[str, Any]:
    return {
        **letter.as_json(),
        "key": None if letter.key is None else as_text(letter.key),
        "headers": [[name, as_text(value)] for name, value in letter.headers],
        "transaction": decoded,
        "fault_now": fault,
        "value_hex": None if letter.value is None else letter.value[:_PREVIEW_BYTES].hex(),
    }


def _redriven_json(done: Redriven) -> dict[str, Any]:
    return {
        "redriven": done.redriven,
        "left": done.left,
        "earlier": done.earlier,
        "impossible": done.impossible,
        "by_stage": dict(done.by_stage),
    }


def _when(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _REASON_CHARS else line[: _REASON_CHARS - 1] + "…"
