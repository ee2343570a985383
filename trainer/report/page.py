"""The report's HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from stream_scorer.errors import UsageError
from trainer.report import charts
from trainer.report.svg import percent


def write_report(metadata: Mapping[str, Any], path: Path) -> None:
    """Write a version's report.

    Raises:
        UsageError: the metadata is incomplete, or the file cannot be written.
    """
    page = build_page(metadata)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def build_page(metadata: Mapping[str, Any]) -> str:
    """The page as HTML; it loads no other resources.

    Raises:
        UsageError: the metadata was not written by this trainer.
    """
    try:
        return _page(metadata)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UsageError(
            f"the metadata of {metadata.get('version')} is incomplete for a report: {error!r}"
        ) from error


def _page(metadata: Mapping[str, Any]) -> str:
    version = escape(str(metadata["version"]))
    style = (files("trainer.report") / "style.css").read_text(encoding="utf-8")
    body = "".join(
        (
            _header(metadata, version),
            _gate(metadata["gate"]),
            _tiles(metadata["metrics"]["test"], metadata["thresholds"]),
            _figures(metadata),
            _tables(metadata),
        )
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Model {version}'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def _header(metadata: Mapping[str, Any], version: str) -> str:
    training = metadata["training"]
    source = escape(str(training["source"]))
    warning = ""
    if str(training["source"]).startswith("synthetic:"):
        warning = (
            '<p class="warn">Trained on synthetic data: these figures do not predict the quality '
            "on real transactions.</p>"
        )
    return (
        f"<header><h1>Fraud model {version}</h1><p>created {escape(metadata['created_at'])} "
        f"from {source}: {training['rows']:,} transactions, {training['frauds']:,} frauds; "
        f"{metadata['parameters']['trees_used']} trees. All figures are from the test part: the "
        f"latest {training['split']['test']['rows']:,} rows, which were not used to choose "
        "anything.</p>"
        f"{warning}</header>"
    )


def _gate(gate: Mapping[str, Any]) -> str:
    state = "passed" if gate["passed"] else "refused"
    lines = [*gate["refusals"], *gate["notes"]]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<section class="gate {state}"><b>Gate: {state}</b><ul>{items}</ul></section>'


def _tiles(test: Mapping[str, Any], thresholds: Mapping[str, Any]) -> str:
    tiles = [
        (name, f"{test[key]:.4f}", _between(test[f"{key}_interval"]))
        for name, key in (("average precision", "average_precision"), ("ROC AUC", "roc_auc"))
    ]
    top = test["top"]["0.02"]
    tiles.append(
        (
            "recall in the top 2 %",
            f"{top['recall']:.3f}",
            f"precision {top['precision']:.3f}",
        )
    )
    for name in ("review", "block"):
        at = test[name]
        precision = "none" if at["precision"] is None else f"precision {at['precision']:.3f}"
        tiles.append((f"{name} at {thresholds[name]:.4f}", percent(at["share"]), precision))
    cells = "".join(
        f'<div class="tile"><span>{escape(a)}</span><b>{escape(b)}</b><span>{escape(c)}</span>'
        "</div>"
        for a, b, c in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def _figures(metadata: Mapping[str, Any]) -> str:
    plots, test = metadata["plots"], metadata["metrics"]["test"]
    split = metadata["training"]["split"]
    review = '<i class="key dot-review"></i> review <i class="key dot-block"></i> block'
    pair = '<i class="key fill-a"></i> {} <i class="key fill-b"></i> {}'
    figures = (
        ("Precision and recall", charts.precision_recall(plots, test), review, ""),
        (
            "Recall by review budget",
            charts.recall_by_budget(plots, test),
            pair.format("recall", "precision"),
            "",
        ),
        ("ROC curve", charts.roc(plots, test), "", ""),
        (
            "Calibration",
            charts.calibration(plots, test),
            "on the dashed line, the score equals the share of fraud",
            "",
        ),
        (
            "Scores by class",
            charts.score_histogram(plots, test, metadata["thresholds"]),
            pair.format("fraud", "legitimate"),
            "",
        ),
        ("Gain by feature", charts.gain(plots, test), "share of all splits' gain", ""),
        ("Transactions per day", charts.over_time(plots, split), "train, validation, test", "wide"),
        ("Fraud rate by week", charts.fraud_rate(plots, split), "all labelled rows", "wide"),
    )
    return '<section class="figures">' + "".join(map(_figure, figures)) + "</section>"


def _figure(figure: tuple[str, str, str, str]) -> str:
    title, chart, caption, style = figure
    return (
        f'<figure class="{style}"><figcaption><h2>{title}</h2><p>{caption}</p></figcaption>'
        f"{chart}</figure>"
    )


def _tables(metadata: Mapping[str, Any]) -> str:
    test = metadata["metrics"]["test"]
    points = [(f"top {percent(float(share))}", at) for share, at in test["top"].items()]
    points += [(f"{name} threshold", test[name]) for name in ("review", "block")]
    rows = [
        (
            name,
            f"{at['rows']:,}",
            f"{at['frauds']:,}",
            _interval(at, "precision"),
            _interval(at, "recall"),
        )
        for name, at in points
    ]
    split = metadata["training"]["split"]
    parts = [
        (
            name,
            f"{split[name]['rows']:,}",
            f"{split[name]['frauds']:,}",
            percent(split[name]["frauds"] / split[name]["rows"]),
            _days(split[name]),
        )
        for name in ("train", "validation", "test")
    ]
    thresholds = metadata["thresholds"]
    chosen = [
        (name.replace("_", " "), value if isinstance(value, str) else f"{value:.6g}")
        for name, value in thresholds.items()
        if isinstance(value, str | int | float)
    ]
    return "".join(
        (
            "<section><h2>Operating points</h2>",
            _table(("", "rows", "frauds", "precision (95 %)", "recall (95 %)"), rows),
            "<h2>Split by time</h2>",
            _table(("part", "rows", "frauds", "fraud rate", "days"), parts),
            f"<p>Gap between the parts: {split['gap_days']:.2f} days.</p>",
            "<h2>Thresholds and how they were chosen</h2>",
            _table(("", ""), chosen),
            "</section>",
        )
    )


def _days(part: Mapping[str, Any]) -> str:
    return f"{part['first_seconds'] / 86_400:.1f} to {part['last_seconds'] / 86_400:.1f}"


def _between(interval: Sequence[float] | None) -> str:
    if interval is None:
        return "too few frauds for an interval"
    return "95 %: {:.3f} to {:.3f}".format(*interval)


def _interval(at: Mapping[str, Any], name: str) -> str:
    if at[name] is None:
        return "none"
    low, high = at[f"{name}_interval"]
    return f"{at[name]:.3f} ({low:.3f} to {high:.3f})"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def cells(tag: str, row: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row) + "</tr>"

    body = "".join(cells("td", row) for row in rows)
    return f"<table><thead>{cells('th', head)}</thead><tbody>{body}</tbody></table>"
