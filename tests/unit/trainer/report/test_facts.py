"""The report's part of the metadata: slices, contributions, drift, bands, the synthetic mark."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.contracts import AMOUNT
from schemas.csv.codec import read_transactions
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from tests.support.factories import make_batch, make_bundle
from tests.support.training.report_kit import make_part
from trainer.data.ingest import Part
from trainer.evaluation import shap_sample
from trainer.evaluation.curve_bands import curve_bands
from trainer.evaluation.described import describe
from trainer.evaluation.evaluate import score_all
from trainer.evaluation.feature_drift import drift_facts
from trainer.evaluation.measures import average_precision, rank
from trainer.evaluation.report_facts import MOST_ROWS, report_facts, thin
from trainer.evaluation.shap_sample import EXACT, PATH, shap_facts
from trainer.evaluation.slices import LEAST_FRAUDS, MOST_SLICES, amount_bands, slice_facts
from trainer.synth import generate
from trainer.synth.files import write_csvs
from trainer.synth.marks import FIRST_ID, IDS, count_synthetic


def make_scored(n: int = 600) -> tuple[Part, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    part = make_part(n)
    return part, score_all(part.batch, make_bundle())


def test_every_row_is_in_one_slice_of_each_dimension() -> None:
    part, scores = make_scored()
    facts = slice_facts(part, scores, 0.5, seed=1)
    titles = [dimension["title"] for dimension in facts["dimensions"]]
    assert [title.partition(" ")[0] for title in titles] == ["Product", "Amount", "Month", "E-mail"]
    for dimension in facts["dimensions"]:
        assert sum(s["rows"] for s in dimension["slices"]) == len(part)
        assert sum(s["frauds"] for s in dimension["slices"]) == part.labels.sum()
        assert sum(s["flagged"] for s in dimension["slices"]) == (scores >= 0.5).sum()


def test_a_slice_has_the_measures_of_its_rows() -> None:
    part, scores = make_scored()
    providers = slice_facts(part, scores, 0.5, seed=1)["dimensions"][3]["slices"]
    assert {s["name"] for s in providers} == {"gmail", "yahoo", "anonymous"}
    rows = np.array([part.batch.row(i)["P_emaildomain"] == "gmail.com" for i in range(len(part))])
    found = next(s for s in providers if s["name"] == "gmail")
    assert found["average_precision"] == average_precision(rank(scores[rows], part.labels[rows]))
    low, high = found["average_precision_interval"]
    assert low < found["average_precision"] < high
    hits = int((part.labels[rows] * (scores[rows] >= 0.5)).sum())
    assert found["recall"] == hits / part.labels[rows].sum()


def test_a_slice_with_few_frauds_has_no_average_precision() -> None:
    part, scores = make_scored(100)
    for dimension in slice_facts(part, scores, 0.5, seed=1)["dimensions"]:
        for found in dimension["slices"]:
            assert (found["average_precision"] is None) == (found["frauds"] < LEAST_FRAUDS)
            assert found["recall_interval"][0] <= found["recall_interval"][1]


def test_rare_levels_and_old_months_are_put_together() -> None:
    batch = make_batch(400)
    batch = replace(batch, times=np.arange(400, dtype=np.int64) * 86_400)
    part = Part(batch, np.tile([0, 1], 200).astype(np.int8))
    months = slice_facts(part, np.linspace(0, 1, 400), 0.5, seed=1)["dimensions"][2]["slices"]
    assert len(months) == MOST_SLICES
    assert months[0]["name"] == "before day 210"
    assert months[0]["rows"] == 210
    assert [m["name"] for m in months[1:3]] == ["days 210 to 239", "days 240 to 269"]
    assert months[-1]["name"] == "days 390 to 419"


def test_amount_bands_have_round_edges_and_hold_every_amount() -> None:
    amounts = np.random.default_rng(0).gamma(2.0, 60.0, 5000)
    names, codes = amount_bands(amounts)
    assert names[0].startswith("below ")
    assert names[-1].endswith(" and more")
    edges = [float(name.split()[0]) for name in names[1:]]
    assert all(len(f"{edge:g}".strip("0.")) <= 2 for edge in edges)
    for code, (low, high) in enumerate(zip([0, *edges], [*edges, np.inf], strict=True)):
        assert ((amounts >= low) & (amounts < high) == (codes == code)).all()
    assert amount_bands(np.zeros(5))[0] == ["below 0", "0 and more"]


def test_contributions_have_size_direction_and_a_sample_of_points() -> None:
    part, _ = make_scored()
    bundle = make_bundle()
    matrix = bundle.features.transform(part.batch)
    facts = shap_facts(matrix, bundle, seed=1)
    assert (facts["method"], facts["rows"]) == (EXACT, 500)
    assert facts == shap_facts(matrix, bundle, seed=1)
    strengths = [feature["mean_absolute"] for feature in facts["features"]]
    assert strengths == sorted(strengths, reverse=True)
    amount = next(f for f in facts["features"] if f["name"] == AMOUNT)
    assert amount["direction"] > 0.5  # the label of the factory grows with the amount
    assert len(amount["points"]) == shap_sample.SHOWN_ROWS
    assert all(-1 <= rank <= 100 for _, rank in amount["points"])


def test_a_large_model_is_explained_along_the_path_whatever_the_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    part, _ = make_scored()
    bundle = make_bundle()
    monkeypatch.setattr(shap_sample, "EXACT_SECONDS", 1e-6)
    facts = shap_facts(bundle.features.transform(part.batch), bundle, seed=1)
    assert (facts["method"], facts["rows"]) == (PATH, 500)
    assert facts["features"][0]["mean_absolute"] > 0


def test_drift_is_small_without_a_change_and_large_with_one() -> None:
    features = FeatureSet.fit(make_batch(10), load_builtin(IEEE_CIS))
    names = features.names[:4]
    rng = np.random.default_rng(0)
    before, after = (rng.normal(size=(n, len(features.names))) for n in (4000, 3000))
    after[:, 1] += 1.0
    after[:1500, 2] = np.nan
    before[:, 3] = after[:, 3] = 5.0
    found = drift_facts(before, after, features, names)["features"]
    same, moved, missing, constant = (feature["psi"] for feature in found)
    assert same < 5 * found[0]["psi_by_chance"] < 0.03
    assert moved > 0.5
    assert missing > 0.5
    assert constant == 0
    assert [f["missing_after"] for f in found] == [0, 0, 0.5, 0]
    assert found[1]["median_after"] - found[1]["median_before"] == pytest.approx(1, abs=0.1)


def test_drift_of_a_column_that_is_always_missing_before_is_seen() -> None:
    features = FeatureSet.fit(make_batch(10), load_builtin(IEEE_CIS))
    before = np.full((500, len(features.names)), np.nan)
    found = drift_facts(before, np.zeros_like(before), features, features.names[:1])["features"][0]
    assert found["psi"] > 1
    assert found["median_before"] is None


def test_bands_hold_the_curve() -> None:
    part, scores = make_scored()
    ranking = rank(scores, part.labels)
    bands = curve_bands(ranking, seed=1)
    recall, precision = ranking.hits / ranking.hits[-1], ranking.hits / ranking.taken
    inside = 0
    for x, low, high in bands["precision_recall_band"]:
        at = precision[np.searchsorted(recall, x - 1e-9)]
        inside += low - 0.02 <= at <= high + 0.02
        assert 0 <= low <= high <= 1
    assert inside >= 0.95 * len(bands["precision_recall_band"])
    assert [row[1:] for row in bands["roc_band"]][-1] == [1, 1]
    assert curve_bands(rank(np.ones(5), np.zeros(5, np.int8)), seed=1) == {}


def test_facts_of_a_run_are_small_and_plain() -> None:
    part, scores = make_scored()
    bundle = make_bundle()
    gains = dict.fromkeys(bundle.features.names, 0.0) | {AMOUNT: 3.0, "C1": 1.0}
    facts = report_facts(part, scores, bundle, gains, make_batch(300, 5), seed=1)
    assert set(facts) == {"slices", "curves", "feature_gain", "shap", "feature_drift", "synthetic"}
    assert len(json.dumps(facts, indent=1, allow_nan=False)) < 300_000
    assert facts["feature_gain"]["used"] == 2
    assert [f["gain"] for f in facts["feature_gain"]["features"]] == [0.75, 0.25]
    assert facts["feature_drift"]["features"][0]["name"] == AMOUNT
    assert facts["synthetic"] == {"rows": 0, "of": len(part)}
    without = report_facts(part, scores, bundle, gains, None, seed=1)
    assert "feature_drift" not in without


def test_gain_by_group_adds_up_and_features_have_their_text() -> None:
    part, scores = make_scored()
    bundle = make_bundle()
    features = bundle.features
    gains = dict.fromkeys(features.names, 0.0) | {AMOUNT: 3.0, "C1": 1.0}
    groups = report_facts(part, scores, bundle, gains, None, seed=1)["feature_gain"]["groups"]
    assert [(g["group"], g["gain"]) for g in groups[:2]] == [
        (features.groups[AMOUNT], 0.75),
        (features.groups["C1"], 0.25),
    ]
    assert sum(g["features"] for g in groups) == len(features.names)
    expected = {"name": "C1", "text": features.describe("C1"), "group": features.groups["C1"]}
    assert describe(features, "C1") == expected


def test_rows_are_thinned_evenly() -> None:
    batch = make_batch(50)
    assert thin(batch).ids.tolist() == batch.ids.tolist()
    many = batch.take(np.zeros(2 * MOST_ROWS + 1, np.int64))
    assert MOST_ROWS * 0.6 < len(thin(many)) <= MOST_ROWS


def test_synthetic_rows_are_recognized_after_csv(tmp_path: Path) -> None:
    paths = write_csvs(generate(60, seed=3), tmp_path)
    (chunk,) = read_transactions(*paths)
    assert count_synthetic(chunk.batch.ids) == 60
    assert float(chunk.batch.ids.max()) == chunk.batch.ids.max()  # exact as a double


def test_ids_outside_the_generators_range_are_not_synthetic() -> None:
    real = np.array([0, 1, 2_987_000, 4_170_239, 1_770_000_000_000, FIRST_ID - 1, FIRST_ID + IDS])
    assert count_synthetic(real) == 0
    assert count_synthetic(np.array([FIRST_ID, FIRST_ID + IDS - 1])) == 2
