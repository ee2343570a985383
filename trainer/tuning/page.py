"""The front as a page of its own: a chart of all trials, and a table of those on the front."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from stream_scorer.errors import UsageError
from trainer.fitting.plan import FeaturePlan
from trainer.report.svg import Axis, Chart
from trainer.tuning.front import front
from trainer.tuning.space import train_flags
from trainer.tuning.study import Trial

_WIDTH = 940
_MARGIN = 0.05  # of an axis, beyond the outermost points
_KEYS = "".join(
    f'<span class="entry"><i class="key fill-{key}"></i>{name}</span>'
    for key, name in (("a", "the front"), ("b", "other trials"), ("c", "the default plan"))
)
_HEAD = ("trial", "average precision", "µs a row", "trees", "leaves", "columns", "flags")


def write_page(
    trials: Sequence[Trial], default: Trial, source: str, path: Path, features: FeaturePlan
) -> None:
    """Write the page of trials with some features.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        path.write_text(build_page(trials, default, source, features), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def build_page(trials: Sequence[Trial], default: Trial, source: str, features: FeaturePlan) -> str:
    """The page as HTML; it loads no other resources."""
    best = front(trials)
    style = (files("trainer.report") / "style.css").read_text(encoding="utf-8")
    rows = best if default in best else [*best, default]
    lines = "".join(_row(trial, features, is_default=trial == default) for trial in rows)
    head = "".join(_cell("th", name, n) for n, name in enumerate(_HEAD))
    warning = ""
    if source.startswith("synthetic:"):
        warning = (
            '<p class="warn">On synthetic data: these figures do not predict the quality on real '
            "transactions.</p>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tuning</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{style}</style></head><body><main>"
        "<header><h1>Average precision against the time of scoring</h1>"
        f"<p>{len(trials)} trials on {escape(source)}. On the line, no trial is both faster and "
        "more precise. Average precision is of later rows than the model was trained on; the time "
        "is of features and raw scores on one thread.</p>"
        f"{warning}</header>"
        f'<section class="figures"><figure class="full"><p class="keys">{_KEYS}</p>'
        f'<div class="plot">{_chart(trials, best, default)}</div></figure></section>'
        '<section><div class="scroll"><table><caption>The front and the default plan</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div></section>"
        "</main></body></html>\n"
    )


def _chart(trials: Sequence[Trial], best: Sequence[Trial], default: Trial) -> str:
    points = [_point(trial) for trial in trials]
    x = _axis("µs a row", [a for a, _ in points])
    y = _axis("average precision", [b for _, b in points])
    chart = Chart("average precision against µs a row", x, y, width=_WIDTH)
    for trial in trials:
        if trial not in best:
            chart.point(*_point(trial), "dot-b", _tip(trial))
    chart.line([_point(trial) for trial in best], "line-a")
    for trial in best:
        chart.point(*_point(trial), "dot-a", _tip(trial), radius=4.5)
    chart.point(*_point(default), "dot-c", f"default plan, {_tip(default)}", radius=5.5)
    return chart.write()


def _axis(name: str, values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    margin = ((high - low) or abs(high) or 1.0) * _MARGIN
    return Axis(name, max(0.0, low - margin), high + margin)


def _point(trial: Trial) -> tuple[float, float]:
    return trial.outcome.microseconds or 0.0, trial.outcome.average_precision


def _tip(trial: Trial) -> str:
    out = trial.outcome
    return (
        f"trial {trial.number + 1}: {out.average_precision:.4f}, "
        f"{out.microseconds or 0:.1f} µs a row, {out.trees} trees of {out.leaves:.0f} leaves, "
        f"{out.columns} columns"
    )


def _row(trial: Trial, features: FeaturePlan, *, is_default: bool) -> str:
    out = trial.outcome
    cells = (
        f"{trial.number + 1}{' (default plan)' if is_default else ''}",
        f"{out.average_precision:.4f}",
        f"{out.microseconds or 0:.1f}",
        f"{out.trees}",
        f"{out.leaves:.0f}",
        f"{out.columns}",
        train_flags(trial.plan, features),
    )
    return "<tr>" + "".join(_cell("td", cell, n) for n, cell in enumerate(cells)) + "</tr>"


def _cell(name: str, text: str, column: int) -> str:
    shown = escape(text)
    if column == len(_HEAD) - 1:  # a flag and its value stay on one line
        pairs = shown.split(" --")
        shown = " ".join(
            f'<span class="entry">{"--" * (n > 0)}{pair}</span>' for n, pair in enumerate(pairs)
        )
        return f"<{name}>{shown}</{name}>"
    style = ' class="n"' if column > 0 else ""
    return f"<{name}{style}>{shown}</{name}>"
