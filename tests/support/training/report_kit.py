"""Metadata for reports: real figures of a small model, and the facts of a whole training run."""

from __future__ import annotations

import copy
import json
from functools import cache
from html.parser import HTMLParser
from typing import Any, Final

import numpy as np

from tests.support.factories import make_batch, make_bundle, make_files
from trainer.data.ingest import Part
from trainer.evaluation.evaluate import measure, score_all
from trainer.evaluation.plots import plot_facts
from trainer.evaluation.report_facts import report_facts

DAY: Final = 86_400
ALLOWED_TAGS: Final = frozenset(
    (
        "a", "aside", "b", "body", "caption", "circle", "code", "div", "figcaption", "figure",
        "h1", "h2", "h3", "head", "header", "html", "i", "li", "line", "main", "meta", "nav", "p",
        "polygon", "polyline", "rect", "section", "small", "span", "strong", "style", "svg",
        "table", "tbody", "td", "text", "th", "thead", "title", "tr", "ul",
    )
)  # fmt: skip
ALLOWED_ATTRIBUTES: Final = frozenset(
    (
        "aria-hidden", "aria-label", "charset", "class", "content", "cx", "cy", "height", "href",
        "id", "lang", "name", "points", "r", "role", "rx", "scope", "style", "tabindex",
        "text-anchor", "transform", "viewbox", "width", "x", "x1", "x2", "y", "y1", "y2",
    )
)  # fmt: skip
_VOID: Final = frozenset({"meta"})


_REFERENCE: Final = {
    "features": 14, "average_precision": 0.4, "average_precision_interval": [0.3, 0.5],
    "difference": -0.05, "interval": [-0.08, -0.01], "gained_on": 5, "seeds": 5,
}  # fmt: skip


def make_part(n: int = 400, seed: int = 3) -> Part:
    """Rows with a label that the model of the factories can partly predict."""
    batch = make_batch(n, seed)
    amount = batch.numbers[:, 0]
    noise = np.random.default_rng(seed).normal(0, 40, n)
    return Part(batch, (amount + noise > 200).astype(np.int8))


@cache
def _report_metadata() -> dict[str, Any]:
    part, bundle = make_part(), make_bundle()
    scores = score_all(part.batch, bundle)
    gains = {name: 100.0 / (i + 1) for i, name in enumerate(bundle.features.names[:40])}
    gains |= dict.fromkeys(bundle.features.names[40:], 0.0)
    times = part.batch.times
    facts = {
        "created_at": "2026-05-03T10:11:12+00:00",
        "training": {
            "source": "transactions.csv",
            "identity": None,
            "sha256": {"transactions": "ab" * 32},
            "rows": 4000,
            "frauds": 400,
            "window_seconds": [DAY, 90 * DAY],
            "duplicates_dropped": 12,
            "columns_missing": ["id_24", "D7"],
            "identity_match": {"identity_rows": 4880, "identity_rows_matched": 4871.0},
            "stages": {"ingest": {"seconds": 3.2, "peak_mib": 612}},
            "history": {
                "rows": 4200,
                "keys": {"client": 2345, "mail": 17},
                "bytes_a_key": {"client": 312, "mail": 96},
            },
        },
        "parameters": {"model": {"trees": 20, "leaves": 15}, "trees_used": 20},
        "metrics": {"test": measure(part, scores, bundle.thresholds, 1)},
        "plots": plot_facts(scores, part.labels, times, part.labels, gains),
        "gate": {
            "passed": True,
            "refusals": [],
            "notes": ["average precision 0.5000, v1 has 0.4900"],
            "champion": {"version": "v1", "average_precision": 0.49},
            "comparison": {"average_precision": {"difference": 0.01, "interval": [-0.02, 0.04]}},
        },
        **_run_facts(),
        **report_facts(part, scores, bundle, gains, make_batch(300, 5), seed=1),
    }
    metadata = json.loads(make_files("v7")["metadata.json"]) | facts
    metadata["thresholds"] |= {
        "review_method": "largest expected saving",
        "saving_curve": [[t / 50, 100 - (t - 20) ** 2] for t in range(51)],
    }
    found: dict[str, Any] = json.loads(json.dumps(metadata))
    return found


def _run_facts() -> dict[str, Any]:
    """What the folds, the refit, the calibration and an ablation leave in the metadata."""
    test = {"rows": 200, "frauds": 25, "first_seconds": 40 * DAY, "last_seconds": 60 * DAY}
    train = {"rows": 900, "frauds": 80, "first_seconds": DAY, "last_seconds": 37 * DAY}
    bins = [
        {"rows": 200, "mean_score": 0.01, "frauds": 1},
        {"rows": 100, "mean_score": 0.1, "frauds": 30},
    ]
    return {
        "evaluation": {
            "gap_days": 3.0,
            "folds": [
                {
                    "train": train,
                    "test": test,
                    "trees": 20 + k,
                    "average_precision": 0.4 + k / 50,
                    "average_precision_interval": [0.3, 0.55],
                    "roc_auc": 0.9,
                    "roc_auc_interval": [0.86, 0.93],
                }
                for k in range(3)
            ],
        },
        "served": {
            "is_refit": True,
            "rows": 4000,
            "frauds": 400,
            "window_seconds": [DAY, 90 * DAY],
            "trees": 33,
        },
        "calibration": {
            "method": "isotonic",
            "reason": "",
            "before": {"brier": 0.06, "expected_calibration_error": 0.02, "reliability": bins},
            "after": {"brier": 0.05, "expected_calibration_error": 0.01, "reliability": bins},
        },
        "ablation": {
            "rows": [{"group": "amounts", "difference": -0.02, "interval": [-0.03, 0.0]}],
            "whole": {**_REFERENCE, "difference": 0.0, "interval": [0.0, 0.0]},
            "stateless": _REFERENCE,
            "with_space": {"client": _REFERENCE},
            "raw": _REFERENCE,
        },
        "history": {
            "spec": [
                {"space": "client", "key": ["card1", "addr1"], "start_day": "D1", "ttl_days": 180,
                 "ring": 8},
                {"space": "mail", "key": ["card1"], "ttl_days": 1, "ring": 1},
            ],
            "seed": {"sha256": "ab" * 32, "bytes": 45_200_000, "as_of": 90 * DAY, "keys": {}},
        },
    }  # fmt: skip


def make_report_metadata(**changes: Any) -> dict[str, Any]:
    """A version's metadata with everything a report can show; keys can be replaced."""
    return copy.deepcopy(_report_metadata()) | changes


class PageReader(HTMLParser):
    """Reads a page: its text and tags, and every fault of its structure."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check one element and its attributes."""
        self.tags.append(tag)
        if tag not in ALLOWED_TAGS:
            self.faults.append(f"<{tag}>")
        for name, value in attrs:
            if name not in ALLOWED_ATTRIBUTES:
                self.faults.append(f"attribute {name} of <{tag}>")
            if name == "href" and not (value or "").startswith("#"):
                self.faults.append(f"link to {value}")
            is_number = name in {"x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "points"}
            if is_number and any(c.isalpha() for c in value or ""):
                self.faults.append(f"{name} of <{tag}> is {value}")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that elements close in order."""
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> out of order")

    def handle_data(self, data: str) -> None:
        """Keep the text, except for the style sheet."""
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text."""
        return " ".join(self.texts)


def read_page(page: str) -> PageReader:
    """Parse a page; everything left open is a fault."""
    reader = PageReader()
    reader.feed(page)
    reader.close()
    reader.faults += [f"<{tag}> is not closed" for tag in reader._open]
    return reader
