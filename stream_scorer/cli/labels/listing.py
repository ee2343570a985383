"""``stream-scorer labels list`` and ``labels show``: which labels stand, and what came before."""

from __future__ import annotations

import argparse
from typing import Any, Final

import numpy as np

from stream_scorer.cli.console import aligned, count_noun, note, plural, say, say_json
from stream_scorer.cli.progress import showing_progress
from stream_scorer.cli.times import format_time
from stream_scorer.labels.history import History, read_history
from stream_scorer.labels.labels import ORIGINS, VALUES
from stream_scorer.labels.standing import Rows, StandingLabels
from stream_scorer.labels.topic import read_standing
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.text import printable
from stream_scorer.settings import GroupSettings

_WORDS: Final = {value: word for word, value in VALUES.items()}
_NOTE_CHARS: Final = 60


def run_list_labels(args: argparse.Namespace) -> int:
    """``labels list``: the newest labels that stand."""
    settings = load_settings(GroupSettings)
    with showing_progress("labels list", quiet=args.json) as on_progress:
        labels = read_standing(settings, settings.labels_topic, on_progress)
    rows = select(labels, args.since, args.origin, args.label)
    newest = rows[np.lexsort((rows["id"], -rows["decided_at"]))][: args.limit]
    if args.json:
        say_json(
            {
                "topic": settings.labels_topic,
                "transactions": len(labels),
                "matching": len(rows),
                "by_label": _counts(rows),
                "bad_records": labels.bad,
                "bad": list(labels.named),
                "labels": [describe(labels, row) for row in newest],
            }
        )
        return 0
    counts = ", ".join(f"{count:,} {word}" for word, count in _counts(rows).items() if count)
    say(f"{count_noun(len(rows), 'labelled transaction')}" + (f": {counts}" if counts else ""))
    if len(newest):
        table = [["transaction", "label", "origin", "decided", "score", "model", "record"]]
        table += [_cells(describe(labels, row)) for row in newest]
        for line in aligned(table, right=(0, 4)):
            say(line)
    if (more := len(rows) - len(newest)) > 0:
        say(f"and {more:,} older {plural('label', more)}: use --limit N to show N, or filters")
    return 0


def select(
    labels: StandingLabels, since: int | None, origin: str | None, label: str | None
) -> Rows:
    """The last label of each transaction, or of each that the origin labelled, as filtered."""
    rows = labels.last if origin is None else labels.of_origin(origin)
    if since is not None:
        rows = rows[rows["decided_at"] >= since]
    return rows if label is None else rows[rows["value"] == VALUES[label]]


def describe(labels: StandingLabels, row: Any) -> dict[str, Any]:
    """A label as JSON."""
    topic, version, score = int(row["topic"]), int(row["version"]), float(row["score"])
    source = {
        "topic": labels.topics[topic] if topic >= 0 else None,
        "partition": int(row["source_partition"]),
        "offset": int(row["source_offset"]),
    }
    return {
        "transaction_id": int(row["id"]),
        "label": _WORDS[int(row["value"])],
        "origin": ORIGINS[int(row["origin"])],
        "decided_at": int(row["decided_at"]),
        "score": None if score != score else score,
        "model_version": labels.versions[version] if version >= 0 else None,
        "source": source if topic >= 0 else None,
        "record": f"{row['partition']}-{row['offset']}",
    }


def run_show_labels(args: argparse.Namespace) -> int:
    """``labels show``: every label of a transaction; exit code 1 if there is none."""
    settings = load_settings(GroupSettings)
    with showing_progress("labels show", quiet=args.json) as on_progress:
        history = read_history(settings, args.transaction, on_progress)
    if args.json:
        say_json(history.as_json())
    else:
        _print_history(history)
    if not history.total:
        note(f"{settings.labels_topic} has no label of transaction {args.transaction}")
    return 0 if history.total else 1


def _print_history(history: History) -> None:
    if not history.total:
        return
    say(f"transaction {history.transaction_id}: {count_noun(history.total, 'label')}")
    if (left_out := history.total - len(history.labels)) > 0:
        say(f"the first {left_out:,} are not shown")
    table = [["record", "label", "origin", "decided", "by", "score", "model", "note"]]
    for entry in history.as_json()["labels"]:
        score = entry["score"]
        mark = " (stands)" if entry["stands"] else ""
        cells = [
            entry["record"],
            f"{entry['label']}{mark}",
            entry["origin"],
            format_time(entry["decided_at"]),
            entry["decided_by"] or "",
            "" if score is None else f"{score:.4f}",
            entry["model_version"] or "",
            (entry["note"] or "")[:_NOTE_CHARS],
        ]
        table.append([printable(cell) for cell in cells])
    for line in aligned(table, right=(5,)):
        say(line)


def _cells(label: dict[str, Any]) -> list[str]:
    score = label["score"]
    return [
        str(label["transaction_id"]),
        label["label"],
        label["origin"],
        format_time(label["decided_at"]),
        "" if score is None else f"{score:.4f}",
        printable(label["model_version"] or ""),
        label["record"],
    ]


def _counts(rows: Rows) -> dict[str, int]:
    return {word: int((rows["value"] == value).sum()) for word, value in VALUES.items()}
