"""What was evaluated and what is served: windows in time, and the figures of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainer.report.markup import Html, figure, join, key, table, tag
from trainer.report.numbers import DAY_SECONDS, NONE, days, decimal, even_percent, interval, whole
from trainer.report.strips import axis_strip, interval_strip, scale_of
from trainer.report.subject import Subject
from trainer.report.svg import WIDE, Axis, Chart, canvas, nice_ticks, segment, text_at
from trainer.report.view import View

NOTHING: Final = Html("")
MOST_FOLDS: Final = 24
_ROW: Final = 30
_LEFT: Final = 130
_PARTS: Final = ("train", "validation", "test")
_STYLES: Final = {"train": "fill-b", "validation": "fill-c", "test": "fill-a"}
_FOLD_SENTENCE: Final = (
    "Each model is trained on the earlier part of its line and evaluated on the later part; "
    "nothing it was evaluated on was used to train it."
)


def evaluation(subjects: Sequence[Subject]) -> Html:
    """The windows as a picture, and a table of the folds (or of the parts of a single split)."""
    facts = subjects[0].facts
    if facts.at("imported"):
        return NOTHING  # a model that was trained elsewhere: its training rows are not known
    folds = facts.items("evaluation", "folds", most=MOST_FOLDS)
    picture = _windows(facts, folds)
    tables = _fold_table(facts, folds) if folds else _part_table(facts)
    return join([picture, tables, _served_table(facts), _gap(facts)])


def _gap(facts: View) -> Html:
    gap = facts.number("evaluation", "gap_days")
    if gap is None:
        gap = facts.number("training", "split", "gap_days")
    if gap is None:
        return NOTHING
    return tag("p", f"Gap between training and evaluation: {gap:.1f} days.", class_="small")


def _windows(facts: View, folds: Sequence[View]) -> Html:
    """A line for each model: its training window and its evaluation window."""
    lines: list[tuple[str, list[tuple[str, float, float, str]]]] = []
    for number, fold in enumerate(folds, 1):
        spans = [s for name in _PARTS if (s := _span(fold.at(name), name)) is not None]
        lines.append((f"fold {number}", spans))
    if not folds:
        split = facts.at("training", "split")
        spans = [s for name in _PARTS if (s := _span(split.at(name), name)) is not None]
        lines.append(("split", spans))
    window = facts.interval("served", "window_seconds")
    if window is not None:
        tip = f"served model: days {days(*window)}, {whole(facts.count('served', 'rows'))} rows"
        ends = (window[0] / DAY_SECONDS, window[1] / DAY_SECONDS)
        lines.append(("served model", [("train", *ends, tip)]))
    values = [v for _, spans in lines for _, low, high, _ in spans for v in (low, high)]
    if not values or max(values) <= min(values):
        return NOTHING
    low, high = min(values), max(values)
    room = WIDE - _LEFT - 20
    marks = []
    for tick in nice_ticks(low, high, 9):
        at = _LEFT + (tick - low) / (high - low) * room
        marks.append(segment(at, 6, at, len(lines) * _ROW + 8, "grid"))
        marks.append(text_at(at, len(lines) * _ROW + 24, f"{tick:g}", "tick", "middle"))
    for i, (name, spans) in enumerate(lines):
        y = 8 + i * _ROW
        marks.append(text_at(_LEFT - 10, y + 16, name, "name", "end"))
        for part, first, last, tip in spans:
            x = _LEFT + (first - low) / (high - low) * room
            width = max((last - first) / (high - low) * room, 2)
            where = {"x": f"{x:.1f}", "y": str(y + 4), "width": f"{width:.1f}", "height": "16"}
            marks.append(tag("rect", tag("title", tip), class_=_STYLES[part], rx="3", **where))
    height = len(lines) * _ROW + 46
    marks.append(text_at(_LEFT + room / 2, height - 6, "day of the data", "axis", "middle"))
    used = {part for _, spans in lines for part, *_ in spans}
    keys = join([key(_STYLES[part], _WORDS[part]) for part in _PARTS if part in used])
    drawing = canvas(f"Windows in time. {_FOLD_SENTENCE}", WIDE, height, marks, "wide")
    return figure("Windows in time", _FOLD_SENTENCE, drawing, style="full", keys=keys)


_WORDS: Final = {
    "train": "trained on",
    "validation": "early stopping",
    "test": "evaluated on",
}


def _span(part: View, name: str) -> tuple[str, float, float, str] | None:
    first, last = part.number("first_seconds"), part.number("last_seconds")
    if first is None or last is None or last < first:
        return None
    tip = (
        f"{_WORDS[name]}: days {days(first, last)}, {whole(part.count('rows'))} rows, "
        f"{whole(part.count('frauds'))} frauds"
    )
    return name, first / DAY_SECONDS, last / DAY_SECONDS, tip


def _fold_table(facts: View, folds: Sequence[View]) -> Html:
    measured = [(f.number("average_precision"), f.interval("average_precision_interval"))
                for f in folds]  # fmt: skip
    pooled = facts.at("metrics", "test")
    values = [v for value, ends in measured for v in (value, *(ends or ())) if v is not None]
    overall = pooled.number("average_precision")
    scale = scale_of([*values, *([] if overall is None else [overall])])
    rows: list[Sequence[str | Html]] = []
    for number, (fold, (value, ends)) in enumerate(zip(folds, measured, strict=True), 1):
        test = fold.at("test")
        rows.append(
            (
                str(number),
                whole(fold.count("train", "rows")),
                days(test.number("first_seconds"), test.number("last_seconds")),
                whole(test.count("rows")),
                whole(test.count("frauds")),
                whole(fold.count("trees")),
                _with(value, ends),
                NOTHING if value is None else interval_strip(scale, value, ends, overall),
                _with(fold.number("roc_auc"), fold.interval("roc_auc_interval")),
            )
        )
    if overall is not None:
        ends = pooled.interval("average_precision_interval")
        rows.append(
            (
                "all", "", "", whole(pooled.count("rows")), whole(pooled.count("frauds")),
                "", _with(overall, ends), interval_strip(scale, overall, ends, overall),
                _with(pooled.number("roc_auc"), pooled.interval("roc_auc_interval")),
            )
        )  # fmt: skip
    axis = axis_strip(scale, lambda v: f"{v:g}")
    head = ("fold", "trained on rows", "evaluated on days", "rows", "frauds", "trees",
            "average precision (95 %)", axis, "ROC AUC (95 %)")  # fmt: skip
    reading = (
        "If the figures of the folds lie within each other's intervals, the quality is stable over "
        "time. The dashed line is the figure of all folds together."
    )
    drawn = table("Folds", head, rows, align="lrrrrrrlr")
    return join([drawn, tag("p", reading, class_="small")])


def _with(value: float | None, ends: tuple[float, float] | None) -> str:
    return decimal(value) if ends is None else f"{decimal(value)} ({interval(ends)})"


def _part_table(facts: View) -> Html:
    split = facts.at("training", "split")
    rows = []
    for name in _PARTS:
        part = split.at(name)
        n, frauds = part.count("rows"), part.count("frauds")
        if n is None:
            continue
        rate = frauds / n if n and frauds is not None else None
        ends = days(part.number("first_seconds"), part.number("last_seconds"))
        rows.append((name, whole(n), whole(frauds), even_percent(rate), ends))
    head = ("part", "rows", "frauds", "fraud rate", "days")
    return table("Split by time", head, rows)


def _served_table(facts: View) -> Html:
    served = facts.at("served")
    refit = served.flag("is_refit")
    if refit is None:
        return NOTHING
    window = served.interval("window_seconds")
    burn_in = facts.count("training", "history", "burn_in", "rows")
    which = f"all labelled rows but the first {whole(burn_in)}" if burn_in else "all labelled rows"
    row = (
        f"refit on {which}" if refit else "as evaluated, not refit",
        whole(served.count("rows")),
        whole(served.count("frauds")),
        NONE if window is None else days(*window),
        whole(served.count("trees")),
    )
    return table("The served model", ("model", "rows", "frauds", "days", "trees"), [row])


def over_time(subjects: Sequence[Subject]) -> Html:
    """Transactions per day, and the fraud rate by week."""
    time = subjects[0].facts.at("plots", "time")
    first, width = time.number("first_day"), time.count("days")
    rows = [n for item in time.items("rows") if (n := item.number()) is not None and n >= 0]
    frauds = [n for item in time.items("frauds") if (n := item.number()) is not None and n >= 0]
    if first is None or not width or not rows or len(rows) != len(frauds):
        return NOTHING
    last = first + width * len(rows)
    reading = "A day far above or below its neighbours is a gap or a repeat in the data."
    chart = Chart(
        f"Transactions per day. {reading}",
        Axis("day of the data", first, last, nice_ticks(first, last, 9)),
        Axis("transactions", 0, max(*rows, 1) * 1.05, (), whole),
        WIDE,
    )
    for i, (n, bad) in enumerate(zip(rows, frauds, strict=True)):
        day = first + i * width
        chart.bar(day, day + width, n, "fill-b", f"day {day:g}: {n:,.0f} rows, {bad:,.0f} frauds")
    return join(
        [
            figure("Transactions per day", reading, chart.write(), style="full"),
            _fraud_rate(first, width, rows, frauds),
        ]
    )


def _fraud_rate(first: float, width: int, rows: list[float], frauds: list[float]) -> Html:
    step = max(1, round(7 / width))
    weeks = []
    for start in range(0, len(rows), step):
        n, bad = sum(rows[start : start + step]), sum(frauds[start : start + step])
        if n:
            middle = first + (start + min(step, len(rows) - start) / 2) * width
            weeks.append((middle, bad / n, n))
    last = first + width * len(rows)
    top = max((rate for _, rate, _ in weeks), default=0.1) or 0.1
    reading = (
        "If the rate falls in the last weeks, the newest frauds may not be reported yet: their "
        "labels are too young."
    )
    chart = Chart(
        f"Fraud rate by week. {reading}",
        Axis("day of the data", first, last, nice_ticks(first, last, 9)),
        Axis("share that is fraud", 0, top * 1.15, (), lambda v: f"{v * 100:.3g} %"),
        WIDE,
    )
    chart.line([(day, rate) for day, rate, _ in weeks], "line-a")
    for day, rate, n in weeks:
        tip = f"week around day {day:.0f}: {rate * 100:.2f} % of {n:,.0f} transactions"
        chart.point(day, rate, "dot-a", tip, 3.5)
    return figure("Fraud rate by week", reading, chart.write(), style="full")
