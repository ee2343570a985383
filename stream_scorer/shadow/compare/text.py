"""A comparison for people: lines for a terminal, and one HTML page that loads nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from stream_scorer.quality.words import problem_texts
from stream_scorer.runtime.text import printable

_NAMES: Final = {"average_precision": "average precision", "recall_at_budget": "recall"}
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{border:1px solid #8886;"
    "padding:.2rem .6rem;text-align:right}th:first-child,td:first-child{text-align:left}"
)


def verdict_line(result: Mapping[str, Any]) -> str:
    """The verdict in one line."""
    more = result.get("more_labels")
    more = f" (about {more:,} more labels)" if more else ""
    return (
        f"{result['challenger']} against {result['champion']}: {result['verdict']}{more}: "
        f"{printable(str(result['reason']))}"
    )


def report_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The result as a person reads it in a terminal."""
    yield verdict_line(result)
    yield f"Next: {result['next']}."
    yield ""
    yield (
        f"{result['rows']:,} transactions have both scores; {result['agreement']:.2%} get the same "
        f"decision; PSI {result['psi']:.3f}"
    )
    yield ""
    pattern = "{:<10} {:<10} {:>12} {:>16}"
    yield pattern.format(result["champion"], result["challenger"], "rows", "amount")
    for cell in result["decisions"]:
        yield pattern.format(
            cell["champion"], cell["challenger"], f"{cell['rows']:,}", amount_text(cell)
        )
    for source, facts in result["labels"].items():
        yield ""
        yield f"{source}: " + label_text(facts)
        for name, shown in difference_texts(facts):
            yield f"  {name}: {shown}"
    if left_out := problem_texts(result.get("refused", {})):
        yield ""
        yield from left_out


def amount_text(cell: Mapping[str, Any]) -> str:
    """An amount; scores state it for flagged and sampled transactions alone."""
    if cell["amount"] is None:
        return "not known" if cell["rows"] else ""
    return f"{cell['amount']:,.2f}"


def label_text(facts: Mapping[str, Any]) -> str:
    """What labels there are."""
    if "why_not" in facts:
        return printable(str(facts["why_not"]))
    return (
        f"{facts['labels']:,} labelled transactions, {facts['frauds']:,} frauds of "
        f"{facts['fraud_cards']:,} cards"
    )


def difference_texts(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each measure with the difference."""
    for key, name in _NAMES.items():
        if (found := facts.get(key)) is None:
            continue
        if "budget" in found:
            name = f"{name} in the top {found['budget']:.2%}"
        interval = found["interval"]
        ends = "" if interval is None else f", 95 %: {interval[0]:+.4f} to {interval[1]:+.4f}"
        values = f"{found['candidate']:.4f} against {found['champion']:.4f}"
        ends = ends or ", too few labels for an interval"
        yield name, f"{values}, difference {found['difference']:+.4f}{ends}"


def build_page(result: Mapping[str, Any]) -> str:
    """The result as HTML."""
    cells = "".join(
        f"<tr><td>{escape(cell['champion'])} → {escape(cell['challenger'])}</td>"
        f"<td>{cell['rows']:,}</td><td>{escape(amount_text(cell))}</td></tr>"
        for cell in result["decisions"]
    )
    edges = [0.0, *result["scores"]["edges"], 1.0]
    bins = "".join(
        f"<tr><td>{low:g} to {high:g}</td><td>{one:,}</td><td>{other:,}</td></tr>"
        for low, high, one, other in zip(
            edges[:-1],
            edges[1:],
            result["scores"]["champion"],
            result["scores"]["challenger"],
            strict=True,
        )
    )
    labels = "".join(
        f"<h3>{escape(source.capitalize())} labels</h3><p>{escape(label_text(facts))}</p><ul>"
        + "".join(f"<li>{escape(n)}: {escape(text)}</li>" for n, text in difference_texts(facts))
        + "</ul>"
        for source, facts in result["labels"].items()
    )
    left_out = "".join(f"<p>{escape(one)}</p>" for one in problem_texts(result.get("refused", {})))
    title = escape(f"{result['challenger']} against {result['champion']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style><h1>{title}</h1><p><strong>{escape(verdict_line(result))}"
        f"</strong></p><p>Next: {escape(result['next'])}.</p>"
        f"<p>{result['rows']:,} transactions have both scores; "
        f"{result['agreement']:.2%} get the same decision; PSI {result['psi']:.3f}</p>"
        f"<h2>Decisions</h2><table><tr><th>Decision</th><th>Rows</th><th>Amount</th></tr>{cells}"
        f"</table><h2>Scores</h2><table><tr><th>Score</th><th>{escape(result['champion'])}</th>"
        f"<th>{escape(result['challenger'])}</th></tr>{bins}</table><h2>Labels</h2>{labels}{left_out}</html>"
    )
