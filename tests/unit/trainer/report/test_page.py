"""The report's page: what it says, what it leaves out, and that nothing in it is unescaped."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_scorer.errors import UsageError
from tests.support.training.report_kit import make_report_metadata, read_page
from trainer.report import build_page, write_report
from trainer.report.svg import Axis, Chart, nice_ticks

CHAPTERS = (
    "evaluation",
    "quality",
    "calibration",
    "decisions",
    "slices",
    "features",
    "data",
    "card",
)
PAYLOAD = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>\x1b]0;\u202e\ud800&lt;"
HOSTILE: list[Any] = [
    PAYLOAD, "", None, True, [], {}, -1, 0, 1e308, float("nan"), float("inf"), 10**400, "1e5",
    [[PAYLOAD] * 3] * 3, {PAYLOAD: {PAYLOAD: PAYLOAD}}, [[0, 0, 0]], [[1e14, -1e14, 5]],
]  # fmt: skip


def test_page_has_every_chapter_and_loads_nothing() -> None:
    page = build_page(make_report_metadata())
    reader = read_page(page)
    assert reader.faults == []
    assert [c for c in CHAPTERS if f'id="{c}"' not in page] == []
    assert reader.tags.count("svg") > 30
    assert not any(word in page for word in ("src=", "url(", "@import", "<script"))
    assert len(page) < 500_000


def test_headline_figures_have_their_intervals_and_chance() -> None:
    metadata = make_report_metadata()
    test = metadata["metrics"]["test"]
    text = read_page(build_page(metadata)).text
    low, high = test["average_precision_interval"]
    assert f"{test['average_precision']:.3f}" in text
    assert f"95 %: {low:.3f} to {high:.3f}" in text
    assert f"chance {test['fraud_rate']:.3f}" in text
    assert "refit on all 4,000 labelled rows" in text


def test_card_history_is_described_with_its_sizes_its_cost_and_its_limits() -> None:
    metadata = make_report_metadata()
    metadata["training"]["history"]["burn_in"] = {"rows": 390}
    metadata["gate"]["latency"] = {
        "candidate_us_per_row": 1.84, "candidate_history_us_per_row": 2.13,
    }  # fmt: skip
    reader = read_page(build_page(metadata))
    assert reader.faults == []
    text = " ".join(reader.text.split())
    assert "client card1 and addr1 and day - D1 180 days 8 312 2,345" in text
    assert "mail card1 1 day 1 96 17" in text
    assert "one pass over 4,200 transactions in time order" in text
    assert "The first 390 only built up histories" in text
    assert "Seed: 45.2 MB, the histories up to day 90.0" in text
    assert "2.1 µs a transaction, beside 1.8 µs for the score" in text
    assert "On the public IEEE-CIS data it has not been measured" in text
    assert "refit on all labelled rows but the first 390" in text
    metadata["history"]["seed"] = None
    assert "No seed was published" in build_page(metadata)
    del metadata["history"]
    assert "bytes a key" not in build_page(metadata)


def test_ablation_shows_the_program_with_and_without_history() -> None:
    text = " ".join(read_page(build_page(make_report_metadata())).text.split())
    minus = "\N{MINUS SIGN}"
    for name in ("only client history", "without card history", "raw columns"):
        assert f"{name} 14 0.400 {minus}0.0500 {minus}0.0800 to {minus}0.0100" in text
    assert "whole program 14 0.400 +0.0000 +0.0000 to +0.0000" in text


def test_every_chart_has_a_sentence_and_a_text_alternative() -> None:
    page = build_page(make_report_metadata())
    figures = page.split("<figure")[1:]
    assert len(figures) >= 9
    for figure in figures:
        reading = figure.partition("<figcaption>")[2].partition("<p>")[2].partition("</p>")[0]
        assert reading.endswith("."), figure[:200]
        assert 'role="img" aria-label="' in figure
    assert page.count("<table") == page.count("<caption>")


def test_confusion_at_the_thresholds_adds_up() -> None:
    metadata = make_report_metadata()
    test = metadata["metrics"]["test"]
    page = build_page(metadata)
    at = test["review"]
    assert f"<b>{test['frauds'] - at['frauds']:,}</b>" in page
    assert f"<b>{test['rows'] - test['frauds'] - at['rows'] + at['frauds']:,}</b>" in page


def test_slices_that_are_too_small_are_named() -> None:
    slices = {
        "least_frauds": 20,
        "dimensions": [
            {"title": "Product", "slices": [{"name": "W", "rows": 50, "frauds": 3}]},
        ],
    }
    text = read_page(build_page(make_report_metadata(slices=slices))).text
    assert "too few frauds" in text
    assert "Slices with fewer than 20 frauds: 1." in text


def test_data_summary_shows_whatever_ingest_recorded() -> None:
    text = read_page(build_page(make_report_metadata())).text
    for part in (
        "ab" * 32,
        "duplicates dropped",
        "12",
        "columns missing",
        "id_24, D7",
        "identity match: identity rows matched",
        "4871",
        "peak memory (MiB)",
        "612",
    ):
        assert part in text  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "is_said"),
    [
        ({}, False),
        ({"training": {"source": "synthetic:20000:7"}}, True),
        ({"synthetic": {"rows": 400, "of": 400}}, True),
        ({"synthetic": {"rows": 1, "of": 400}}, False),
    ],
)
def test_synthetic_data_is_said_on_the_page_in_its_title_and_in_print(
    changes: dict[str, Any], is_said: bool
) -> None:
    page = build_page(make_report_metadata(**changes))
    text = read_page(page).text
    assert ("(synthetic data)</title>" in page) == is_said
    assert ('class="is-synthetic"' in page) == is_said
    assert ("do not predict the quality on real transactions" in text) == is_said
    assert "@page synthetic" in page  # the margin of every printed page


def test_metadata_of_an_earlier_release_gives_what_it_has() -> None:
    metadata = make_report_metadata()
    for key in ("evaluation", "served", "calibration", "ablation", "slices", "curves", "shap",
                "feature_gain", "feature_drift", "synthetic", "history"):  # fmt: skip
        del metadata[key]
    part = {"rows": 900, "frauds": 80, "first_seconds": 86_400, "last_seconds": 9e6}
    metadata["training"]["split"] = dict.fromkeys(("train", "validation", "test"), part)
    page = build_page(metadata)
    assert read_page(page).faults == []
    assert "Split by time" in page
    assert "Gain by feature" in page
    assert 'id="slices"' not in page


def test_promotions_show_who_forced_what_and_why() -> None:
    history: list[dict[str, object]] = [
        {"version": "v6", "at": "2026-01-01", "host": "other"},
        {
            "version": "v7",
            "at": "2026-05-04",
            "override": {"by": "maria", "reason": "hotfix"},
        },
    ]
    text = read_page(build_page(make_report_metadata(), promotions=history)).text
    for part in ("promoted, forced past the gate", "maria", "hotfix", "2026-05-04"):
        assert part in text
    assert "2026-01-01" not in text


def test_comparison_has_differences_and_features_gained_and_lost() -> None:
    ours, theirs = make_report_metadata(), make_report_metadata(version="v6")
    theirs["metrics"]["test"]["average_precision"] = 0.25
    theirs["metrics"]["test"]["average_precision_interval"] = [0.2, 0.3]
    ours["features"]["names"] = ["new_feature", "common"]
    theirs["features"]["names"] = ["common", "old_feature"]
    page = build_page(ours, theirs)
    difference = ours["metrics"]["test"]["average_precision"] - 0.25
    reader = read_page(page)
    assert reader.faults == []
    assert f'<span class="better">+{difference:.3f}</span>' in page
    assert "1 gained, 1 lost" in reader.text
    assert "<code>new_feature</code>" in page
    assert page.count('class="line-b other"') >= 3


def test_comparison_on_other_rows_says_so() -> None:
    other = make_report_metadata(version="v6")
    text = read_page(build_page(make_report_metadata(), other)).text
    assert "evaluated on the same rows" in text
    other["training"]["sha256"] = {"transactions": "cd" * 32}
    text = read_page(build_page(make_report_metadata(), other)).text
    assert "v7 and v6 were evaluated on different rows" in text


def test_an_unwritable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        write_report(make_report_metadata(), tmp_path / "no" / "folder.html")


@pytest.mark.parametrize("ends", [(0, 1), (0, 0), (-1e14, 1e14), (0.5, 0.5 + 1e-17), (3, 1e-9)])
def test_ticks_of_any_range_are_few(ends: tuple[float, float]) -> None:
    assert len(nice_ticks(*ends)) < 20


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key of the metadata, and the first and last item of each list."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield (*path, name)
            yield from paths(item, (*path, name))
    elif isinstance(value, list) and value:
        for i in {0, len(value) - 1}:
            yield (*path, i)
            yield from paths(value[i], (*path, i))


def mutate(metadata: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    """Replace one value, unless an earlier mutation removed what it is in."""
    at: Any = metadata
    for name in path[:-1]:
        at = at[name] if has(at, name) else None
    if has(at, path[-1]):
        at[path[-1]] = value


def has(value: Any, name: Any) -> bool:
    if isinstance(value, dict):
        return name in value
    return isinstance(value, list) and isinstance(name, int) and name < len(value)


def small_metadata() -> dict[str, Any]:
    """Fewer points and features, so that many pages can be built."""
    metadata = make_report_metadata()
    metadata["golden"] = metadata["reference"] = None
    metadata["features"]["names"] = metadata["features"]["names"][:5]
    for key in ("shap", "feature_drift", "feature_gain"):
        metadata[key]["features"] = metadata[key]["features"][:2]
    for feature in metadata["shap"]["features"]:
        feature["points"] = feature["points"][:5]
    for name in ("precision_recall", "roc"):
        metadata["plots"][name] = metadata["plots"][name][:10]
    return metadata


def check(metadata: dict[str, Any], against: dict[str, Any] | None = None) -> None:
    page = build_page(metadata, against, [{"version": "v7", "override": {"by": PAYLOAD}}])
    page.encode()  # a lone surrogate could not be written
    assert read_page(page).faults == []
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_any_hostile_value_anywhere_in_the_metadata_is_shown_escaped_or_not_at_all() -> None:
    """Every value is replaced once; those replaced in one page are far from each other."""
    every = list(paths(small_metadata()))
    assert len(every) > 250
    pages = 60
    for page in range(pages):
        metadata = small_metadata()
        for i in range(page, len(every), pages):
            mutate(metadata, every[i], HOSTILE[i % len(HOSTILE)])
        check(metadata)


@pytest.mark.parametrize("seed", range(8))
def test_random_mutations_never_raise_and_never_put_unescaped_text_into_the_page(seed: int) -> None:
    rng = random.Random(seed)
    every = list(paths(small_metadata()))
    for _ in range(5):
        metadata, other = small_metadata(), small_metadata()
        for path in rng.sample(every, 30):
            mutate(rng.choice((metadata, other)), path, rng.choice(HOSTILE))
        check(metadata, other if rng.random() < 0.5 else None)


@pytest.mark.parametrize("value", HOSTILE[1:], ids=range(1, len(HOSTILE)))
def test_metadata_of_one_hostile_value_gives_a_page(value: Any) -> None:
    check(dict.fromkeys(make_report_metadata(), value))


def test_the_texts_of_two_marked_values_never_cover_each_other() -> None:
    """The left one's text goes to the right, the right one's to the left: they meet between."""
    chart = Chart("scores", Axis("score", 0.0, 1.0), Axis("share", 0.0, 1.0))
    chart.vertical(0.45, "review 0.026")
    chart.vertical(0.8, "block 0.665")
    chart.vertical(0.1, "low")
    drawn = str(chart.write())
    heights = re.findall(r'<text class="note" x="[\d.]+" y="([\d.]+)"', drawn)
    assert len(heights) == 3
    assert heights[0] != heights[1]
    assert heights[0] == heights[2], "nothing is in the way"
    assert drawn.rindex("<line") < drawn.index('class="note"'), "no line crosses a text"


def test_an_imported_model_is_not_said_to_be_evaluated_on_later_rows() -> None:
    metadata = make_report_metadata()
    del metadata["evaluation"], metadata["served"]
    metadata["imported"] = {"file": "model.txt", "sha256": "ab" * 32, "learner": "lightgbm"}
    metadata["calibration"] |= {"method": None, "reason": "the model was trained elsewhere"}
    reader = read_page(build_page(metadata))
    assert reader.faults == []
    assert "If it has seen these rows, it looks better than it is." in reader.text
    assert "later than the rows that the evaluated model was trained on" not in reader.text
    assert "Windows in time" not in reader.text
    assert "No calibration map: the model was trained elsewhere." in reader.text
    assert "model.txt" in reader.text
    assert "ab" * 32 in reader.text
