"""The report's HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from stream_scorer.errors import UsageError
from trainer.report import card, curves, decisions, evaluation, features, headline, history
from trainer.report.comparison import comparison
from trainer.report.markup import Html, join, tag
from trainer.report.slices import slices
from trainer.report.subject import Subject, subjects_of, synthetic_warning

Metadata = Mapping[str, Any]
NOTHING: Final = Html("")


def write_report(
    metadata: Metadata,
    path: Path,
    against: Metadata | None = None,
    promotions: Sequence[Mapping[str, object]] = (),
) -> None:
    """Write a version's report.

    Raises:
        UsageError: the file cannot be written.
    """
    page = build_page(metadata, against, promotions)
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def build_page(
    metadata: Metadata,
    against: Metadata | None = None,
    promotions: Sequence[Mapping[str, object]] = (),
) -> str:
    """The page as HTML; it loads no other resources.

    The metadata is untrusted. What it leaves out, or what is not of the expected type, is not
    shown; this never fails. With ``against``, the figures and curves of both versions are shown.
    ``promotions`` are records of the promotion history: mappings with version, is_rollback, at,
    host and, for a promotion by force, override: a mapping with by and reason.
    """
    subjects = subjects_of(metadata, against)
    chapters = _chapters(subjects, promotions)
    style = (files("trainer.report") / "style.css").read_text(encoding="utf-8")
    title = f"Fraud model {subjects[0].name}"
    is_synthetic = synthetic_warning(subjects) is not None
    if is_synthetic:
        title += " (synthetic data)"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("title", title),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Html(f"<style>{style}</style>"),
    )
    main = tag(
        "main",
        headline.header(subjects),
        headline.verdict(subjects),
        headline.tiles(subjects),
        headline.summary_sentence(subjects),
        _contents(chapters),
        *(_chapter(name, title, body) for name, title, body in chapters),
    )
    kind = "is-synthetic" if is_synthetic else None
    body = tag("body", headline.warnings(subjects), main, class_=kind)
    return f"<!doctype html>{tag('html', head, body, lang='en')}\n"


def _chapters(
    subjects: Sequence[Subject], promotions: Sequence[Mapping[str, object]]
) -> list[tuple[str, str, Html]]:
    """Anchor, title and content of each chapter that has any."""
    quality = [
        curves.precision_recall(subjects),
        curves.recall_by_budget(subjects),
        curves.roc(subjects),
        curves.score_histogram(subjects),
    ]
    scores = [_beside(curves.reliability(subjects), decisions.calibration_figures(subjects))]
    deciding = [
        _beside(curves.saving(subjects), decisions.confusion(subjects)),
        decisions.operating_points(subjects),
        decisions.thresholds(subjects),
    ]
    inputs = [
        _part("Card history", history.history(subjects)),
        _part("Gain", features.gain(subjects)),
        _part("Contributions", features.shap(subjects)),
        _part("Drift", features.drift(subjects)),
        _part("Ablation", features.ablation(subjects)),
    ]
    data = [card.data_summary(subjects), _figures([evaluation.over_time(subjects)])]
    found = [
        ("comparison", "Comparison", comparison(subjects)),
        ("evaluation", "Evaluated and served", evaluation.evaluation(subjects)),
        ("quality", "How well it ranks", _figures(quality)),
        ("calibration", "What a score means", join(scores)),
        ("decisions", "What the thresholds do", join(deciding)),
        ("slices", "Where it is better and worse", slices(subjects)),
        ("features", "What it looks at", join(inputs)),
        ("data", "Data", join(data)),
        ("card", "Model card", card.model_card(subjects, promotions)),
    ]
    return [chapter for chapter in found if chapter[2]]


def _figures(figures: Sequence[Html]) -> Html:
    shown = [found for found in figures if found]
    return tag("div", *shown, class_="figures") if shown else NOTHING


def _beside(drawing: Html, tables: Html) -> Html:
    """A figure and what belongs to it next to each other, or whichever there is."""
    if not drawing:
        return tables
    return tag("div", drawing, tag("div", tables), class_="figures beside")


def _part(title: str, body: Html) -> Html:
    return join([tag("h3", title), body]) if body else NOTHING


def _chapter(name: str, title: str, body: Html) -> Html:
    return tag("section", tag("h2", title), body, id=name)


def _contents(chapters: Sequence[tuple[str, str, Html]]) -> Html:
    links = [tag("a", title, href=f"#{name}") for name, title, _ in chapters]
    return tag("nav", *links, aria_label="Contents")
