"""``stream-scorer labels import``: chargebacks and reversals from a file."""

from __future__ import annotations

import argparse
import time
from typing import Any

from stream_scorer.cli.console import count_noun, note, plural, say, say_json
from stream_scorer.cli.progress import adding, showing_progress
from stream_scorer.errors import UsageError
from stream_scorer.kafka.topics import require_topics
from stream_scorer.labels.importing import Chosen, Written, read_known, write_labels
from stream_scorer.labels.label_lines import LabelLines, read_label_lines
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.stopping import stop_flag
from stream_scorer.settings import GroupSettings


def run_import(args: argparse.Namespace) -> int:
    """``labels import``: exit code 1 if lines are bad or labels were not delivered."""
    settings = load_settings(GroupSettings)
    if args.file.is_dir():
        raise UsageError(f"{args.file} is a directory; name a file in it")
    if not args.file.exists():
        raise UsageError(f"no such file: {args.file}")
    begun, now_ms = time.monotonic(), int(time.time() * 1000)
    lines = _read(args, now_ms)
    _name_faults(lines, skip_bad=args.skip_bad)
    if lines.bad and not args.skip_bad:
        return _finish(args, settings, lines, None, None, time.monotonic() - begun)
    require_topics(settings, [settings.labels_topic])
    with showing_progress("labels import", quiet=args.json) as on_progress:
        known = read_known(settings, args.origin, on_progress)
    chosen = known.choose(lines, now_ms)
    written = Written()
    if chosen.lines:
        with (
            stop_flag() as is_stopping,
            showing_progress("labels import", quiet=args.json, what="labels") as on_progress,
        ):
            written = write_labels(settings, known, chosen.lines, on_progress, is_stopping)
    code = _finish(args, settings, lines, chosen, written, time.monotonic() - begun)
    if written.is_stopped:
        raise KeyboardInterrupt
    return code


def _read(args: argparse.Namespace, now_ms: int) -> LabelLines:
    seen = 0
    with adding("reading lines") as more:

        def show(count: int) -> None:
            nonlocal seen
            more(count - seen)
            seen = count

        return read_label_lines(args.file, now_ms, show)


def _name_faults(lines: LabelLines, *, skip_bad: bool) -> None:
    for fault in lines.faults:
        note(str(fault))
    if (more := lines.bad - len(lines.faults)) > 0:
        note(f"and {count_noun(more, 'more bad line')}")
    if lines.bad and not skip_bad:
        note("nothing was written: correct the file, or leave bad lines out with --skip-bad")


def _finish(
    args: argparse.Namespace,
    settings: GroupSettings,
    lines: LabelLines,
    chosen: Chosen | None,
    written: Written | None,
    seconds: float,
) -> int:
    """Print what was done; returns the exit code."""
    result: dict[str, Any] = {
        "topic": settings.labels_topic,
        "file": str(args.file),
        "origin": args.origin,
        "labels": len(lines),
        "written": 0 if written is None else written.delivered,
        "already": 0 if chosen is None else chosen.already,
        "older": 0 if chosen is None else chosen.older,
        "repeated": lines.repeated,
        "bad": lines.bad,
        "faults": [str(fault) for fault in lines.faults],
        "failed": 0 if written is None else written.failed,
        "first_error": None if written is None else written.first_error,
        "seconds": round(seconds, 3),
    }
    if args.json:
        say_json(result)
    elif written is not None:
        say(_sentence(result))
    if written is not None and written.failed:
        note(f"{count_noun(written.failed, 'label')} failed: {written.first_error}")
    return 1 if written is None or written.failed else 0


def _sentence(result: dict[str, Any]) -> str:
    written = count_noun(result["written"], "label")
    parts = [f"{written} written to {result['topic']}"]
    if result["already"]:
        what = "was" if result["already"] == 1 else "were"
        parts.append(f"{result['already']:,} {what} there already")
    if result["older"]:
        parts.append(f"{result['older']:,} older than the label that stands")
    if result["repeated"]:
        parts.append(f"{result['repeated']:,} repeated {plural('line', result['repeated'])}")
    if result["bad"]:
        parts.append(f"{result['bad']:,} bad {plural('line', result['bad'])} left out")
    return "; ".join(parts)
