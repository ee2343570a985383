"""The result of a run as one HTML page, which loads nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from stream_scorer.quality import words
from stream_scorer.quality.figures import LEVELS
from stream_scorer.runtime.text import printable

_SIZE: Final = 240
_LEFT: Final = 44
_INK, _DIM, _GRID, _BLUE = "#18181b", "#52525b", "#e4e4e7", "#1d4ed8"
_STYLE: Final = """
:root{color-scheme:light}
body{font:15px/1.5 system-ui,sans-serif;color:#18181b;background:#fff;max-width:980px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}
h2{font-size:1.2rem;margin-top:2.2rem;border-top:1px solid #e4e4e7;padding-top:1rem}
table{border-collapse:collapse;width:100%;margin:.8rem 0}
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid #e4e4e7;
vertical-align:top}
.num{text-align:right;font-variant-numeric:tabular-nums}
.dim{color:#52525b}
.bad{color:#b91c1c;font-weight:600}
svg{max-width:100%;height:auto}
"""


def build_page(result: Mapping[str, Any]) -> str:
    """The page. Names in the result come from records, so all of it is escaped."""
    title = "Live quality"
    parts = [
        f"<h1>{title}</h1>",
        (
            f"<p class=dim>{result['scores']:,} scores from {_time(result['since'])} to "
            f"{_time(result['computed_at'])}. {result['labels']:,} transactions have a label. "
            f"Scores older than {result['maturity_days']:g} days are mature.</p>"
        ),
        *(_version(version) for version in result["versions"]),
    ]
    if not result["versions"]:
        parts.append("<p>There is no score in this window.</p>")
    if texts := words.problem_texts(result["problems"]):
        items = "".join(f"<li>{_safe(text)}</li>" for text in texts)
        parts.append(f"<h2>Left out or in doubt</h2><ul>{items}</ul>")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _version(version: Mapping[str, Any]) -> str:
    name = _safe(version["version"])
    summary = (
        f"{version['rows']:,} scores: {version['review']:,} to review, {version['block']:,} "
        f"blocked, {version['sampled']:,} sampled. {version['matured']:,} are mature."
    )
    short = "".join(
        f"<p class=bad>Precision at {threshold} is below the promised "
        f"{words.percent(version['promised_precision'][threshold]['value'])} beyond chance, by "
        f"{source} labels.</p>"
        for threshold in LEVELS
        for source in words.falls_short(version, threshold)
    )
    return (
        f"<h2>{name}</h2><p>{summary}</p>{short}{_figures(version)}{_reliability(version)}"
        f"{_money(version)}{_products(version)}"
    )


def _figures(version: Mapping[str, Any]) -> str:
    rows = []
    for measure in ("precision", "recall"):
        for threshold in LEVELS:
            for source, figure in version[measure][threshold].items():
                label = f"{measure.capitalize()} at {threshold}"
                rows.append((label, source, words.figure_text(figure), figure["n"]))
    figure = version["average_precision"]["matured"]
    text = words.figure_text(figure, words.ratio)
    rows.append(("Average precision", "matured", text, figure["n"]))
    body = [(label, source, text, f"{n:,}" if n else "") for label, source, text, n in rows]
    return _table(("Figure", "Labels", "Value (95 % interval)", "Rows"), body, num=(3,))


def _money(version: Mapping[str, Any]) -> str:
    money = version["money"]
    sampled = money["missed_in_sample"]["sampled"]
    rows = (
        ("Caught", "all labels", words.amount_text(money["caught"])),
        ("Missed", "all labels", words.amount_text(money["missed"])),
        ("Missed, estimated", "sampled", words.figure_text(sampled, words.money)),
    )
    return "<h3>Amounts of fraud</h3>" + _table(("Fraud", "Labels", "Amount"), rows)


def _products(version: Mapping[str, Any]) -> str:
    if not version["products"]:
        return ""
    rows = []
    for product in version["products"]:
        found = product["precision"]["review"]
        texts = [words.figure_text(found[source]) for source in ("matured", "reviewed")]
        recall = product["recall"]["review"]
        texts += [words.brief_text(recall[source]) for source in ("matured", "sampled")]
        rows.append((product["product"], f"{product['flagged']:,}", *texts))
    head = (
        "Product",
        "Flagged",
        "Precision at review, matured",
        "Precision at review, reviewed",
        "Recall at review, matured",
        "Recall at review, sampled",
    )
    notes = "".join(
        f"<p class=dim>{_safe(note[:1].upper() + note[1:])}.</p>"
        for note in words.recall_notes(version["products"])
    )
    return (
        f"<h3>By product</h3>{_table(head, rows, num=(1,))}{notes}"
        f"<p class=dim>{words.MEANING_OF_PRODUCTS}</p>"
    )


def _reliability(version: Mapping[str, Any]) -> str:
    """Mean score against the share of fraud, with intervals; the diagonal is perfect."""
    found = version["calibration"]["matured"]
    if "reliability" not in found:
        return f"<h3>Calibration</h3><p>{_safe(found['reason'])}.</p>"
    top: float = max(
        0.01,
        *(max(group["mean_score"], group["interval"][1]) for group in found["reliability"]),
    )

    def x(value: float) -> float:
        return _LEFT + _SIZE * value / top

    def y(value: float) -> float:
        return 10 + _SIZE * (1 - value / top)

    marks = [
        f'<rect x="{_LEFT}" y="10" width="{_SIZE}" height="{_SIZE}" fill="none" stroke="{_GRID}"/>',
        (
            f'<line x1="{x(0):.1f}" y1="{y(0):.1f}" x2="{x(top):.1f}" y2="{y(top):.1f}" '
            f'stroke="{_DIM}" stroke-dasharray="4 4"/>'
        ),
    ]
    for share in (0.0, 0.5, 1.0):
        value = top * share
        marks += [
            _text(_LEFT - 6, y(value) + 4, f"{value:.3g}", "end"),
            _text(x(value), _SIZE + 28, f"{value:.3g}", "middle"),
        ]
    for group in found["reliability"]:
        at = x(group["mean_score"])
        low, high = (y(end) for end in group["interval"])
        marks += [
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{_BLUE}"/>',
            (
                f'<circle cx="{at:.1f}" cy="{y(group["fraud_share"]):.1f}" r="4" fill="{_BLUE}">'
                f"<title>{group['rows']:,} scores, {group['frauds']:,} frauds</title></circle>"
            ),
        ]
    marks.append(_text(_LEFT + _SIZE / 2, _SIZE + 46, "mean score", "middle"))
    label = "Share of fraud against mean score, in ranges of scores"
    return (
        f"<h3>Calibration</h3><p>Calibration error {found['expected_calibration_error']:.4f}. "
        f"{found['frauds']:,} frauds, {found['expected_frauds']:,.1f} expected by the scores. The "
        "points show the share of fraud in ten ranges of scores. On the dashed line, scores are "
        "as high as they should be.</p>"
        f'<svg viewBox="0 0 {_LEFT + _SIZE + 20} {_SIZE + 56}" width="{_LEFT + _SIZE + 20}" '
        f'role="img" aria-label="{label}" font-family="system-ui,sans-serif" font-size="12">'
        f"{''.join(marks)}</svg>"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{_safe(text)}</text>'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], num: Sequence[int] = ()) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=num' if i in num else ''}>{_safe(cell)}</{tag}>"
            for i, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', head)}</tr></thead><tbody>{body}</tbody></table>"


def _safe(text: object) -> str:
    return escape(printable(str(text)))


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
