"""The report as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from stream_scorer.cli.times import format_time
from stream_scorer.drift.comparison import Shift
from stream_scorer.drift.picture import draw_bars
from stream_scorer.drift.reading.report import DriftReport

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.1rem .7rem;text-align:right}
th:first-child,td:first-child{text-align:left}
.drift-before{fill:#8a93a3}.drift-now{fill:#b4460f}.drift-axis{stroke:#667;fill:none}
"""


def render_page(report: DriftReport) -> str:
    """The page; nothing in it is loaded from elsewhere."""
    return "".join(_parts(report))


def _parts(report: DriftReport) -> Iterator[str]:
    title = escape(f"Drift of {report.version}")
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{_STYLE}</style><main><h1>{title}</h1>"
    since, until = format_time(report.since), format_time(report.until)
    yield f"<p>{report.rows:,} rows from {escape(since)} to {escape(until)}. "
    yield "Left bars: the reference in the version's metadata. Right bars: live rows.</p>"
    shifts = [*report.most_moved, *([report.scores] if report.scores else [])]
    for shift in shifts:
        yield from _section(shift)
    if report.refused or report.problems:
        yield "<h2>Not compared</h2><ul>"
        for name, reason in sorted(report.refused.items()):
            yield f"<li>{escape(name)}: {escape(reason)}</li>"
        for problem in report.problems:
            yield f"<li>{escape(problem)}</li>"
        yield "</ul>"
    yield "</main></html>\n"


def _section(shift: Shift) -> Iterator[str]:
    yield f"<h2>{escape(shift.name)}</h2><p>PSI {shift.psi:.3f} ({escape(shift.verdict)}); "
    yield f"{shift.by_chance:.3f} by chance.</p>{draw_bars(shift)}<table>"
    yield "<tr><th scope=col>Value<th scope=col>Before<th scope=col>Now</tr>"
    for label, before, now in zip(shift.labels(), shift.expected, shift.found, strict=True):
        yield f"<tr><th scope=row>{escape(label)}<td>{before:.1%}<td>{now:.1%}</tr>"
    yield "</table>"
