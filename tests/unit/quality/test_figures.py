"""Figures of live quality against plain pandas, and what cannot be said from which labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from stream_scorer.quality.counts import (
    BINS,
    MAX_PRODUCTS,
    MAX_VERSIONS,
    OTHERS,
    QualityCounts,
    bins_of,
)
from stream_scorer.quality.estimates import share_difference, wilson
from stream_scorer.quality.figures import Promise, all_figures
from stream_scorer.quality.matured import bounds_of_average_precision
from tests.support.quality.kit import (
    DAY,
    FRAUD,
    LEGITIMATE,
    NOW,
    UNSURE,
    count,
    make_labels,
    make_rows,
)


def sample(n: int = 4000, seed: int = 1, steps: int = 200) -> tuple[Any, Any, pd.DataFrame]:
    """Scores, labels, and both as a plain table."""
    rng = np.random.default_rng(seed)
    is_fraud = rng.random(n) < 0.15
    raw = np.clip(rng.beta(1, 3, n) + 0.45 * is_fraud, 0, 1)
    scores = np.round(raw * steps) / steps if steps else raw
    age = rng.integers(1, 50, n)
    rows = make_rows(
        scores,
        times=NOW - age * DAY,
        versions=rng.integers(0, 2, n).astype(np.int32),
        version_names=("v1", "v2"),
        products=np.where(scores >= 0.5, rng.integers(0, 3, n), -1).astype(np.int16),
        product_names=("W", "C", "H"),
        amounts=np.where(scores >= 0.5, np.round(rng.lognormal(4, 1, n), 2), np.nan),
    )
    known: dict[int, dict[str, int]] = {}
    for i in range(n):
        if scores[i] >= 0.5 and rng.random() < 0.6:
            sure = FRAUD if is_fraud[i] else LEGITIMATE
            known[i] = {"analyst": UNSURE if rng.random() < 0.05 else sure}
        if is_fraud[i] and scores[i] < 0.9 and rng.random() < 0.8:
            known.setdefault(i, {})["report"] = FRAUD
    table = pd.DataFrame(
        {
            "score": scores,
            "decision": rows.decisions,
            "age": age,
            "version": np.array(rows.version_names)[rows.versions],
            "product": np.array([*rows.product_names, ""])[rows.products],
            "amount": rows.amounts,
            "analyst": [known.get(i, {}).get("analyst") for i in range(n)],
            "report": [known.get(i, {}).get("report") for i in range(n)],
        }
    )
    table["standing"] = table["report"].fillna(table["analyst"])
    return rows, make_labels(known), table


def interval(hits: int, n: int) -> Any:
    return pytest.approx([float(end) for end in wilson(hits, n)])


def test_figures_equal_a_plain_computation() -> None:
    rows, labels, table = sample()
    for found in all_figures(count(rows, labels), {}):
        own = table[table["version"] == found["version"]]
        assert found["rows"] == len(own)
        assert [found[name] for name in ("approved", "review", "block")] == [
            int((own["decision"] == code).sum()) for code in range(3)
        ]
        mature = own[own["age"] > 14]
        assert found["matured"] == len(mature)
        # What was blocked and is not labelled, and what nobody could decide, says nothing.
        judged = mature[(mature["decision"] < 2) | mature["standing"].notna()]
        judged = judged[judged["standing"] != UNSURE]
        is_fraud = judged["standing"] == FRAUD
        expected = average_precision_score(is_fraud, judged["score"])
        precision = found["average_precision"]["matured"]
        assert precision["value"] == pytest.approx(expected)
        assert precision["interval"][0] < expected < precision["interval"][1]
        for name, level in (("review", 1), ("block", 2)):
            flagged = judged[judged["decision"] >= level]
            hits = int((flagged["standing"] == FRAUD).sum())
            matured = found["precision"][name]["matured"]
            assert matured["value"] == pytest.approx(hits / len(flagged))
            assert matured["interval"] == interval(hits, len(flagged))
            frauds = mature[mature["standing"] == FRAUD]
            caught = int((frauds["decision"] >= level).sum())
            recall = found["recall"][name]["matured"]
            assert recall["value"] == pytest.approx(caught / len(frauds))
            assert recall["interval"] == interval(caught, len(frauds))
            reviewed = own[(own["decision"] >= level) & own["analyst"].isin([0, 1])]
            assert found["precision"][name]["reviewed"] == {
                "value": pytest.approx(reviewed["analyst"].mean()),
                "interval": interval(int(reviewed["analyst"].sum()), len(reviewed)),
                "n": len(reviewed),
            }
        check_calibration(found["calibration"]["matured"], judged, is_fraud)
        check_money(found, own)
        check_products(found["products"], own, judged)


def check_calibration(found: dict[str, Any], judged: pd.DataFrame, is_fraud: Any) -> None:
    assert found["rows"] == len(judged)
    assert found["frauds"] == is_fraud.sum()
    assert found["expected_frauds"] == pytest.approx(judged["score"].sum())
    table = pd.DataFrame(found["reliability"])
    assert table["rows"].sum() == len(judged)
    assert table["mean_score"].is_monotonic_increasing
    assert len(table) >= 8
    # The ranges hold whole groups of equal scores, so that each can be computed again.
    ordered = judged.assign(is_fraud=is_fraud).sort_values("score")
    at = 0
    error = 0.0
    for group in found["reliability"]:
        part = ordered.iloc[at : at + group["rows"]]
        assert group["frauds"] == part["is_fraud"].sum()
        assert group["mean_score"] == pytest.approx(part["score"].mean())
        error += abs(part["score"].sum() - part["is_fraud"].sum())
        at += group["rows"]
    assert found["expected_calibration_error"] == pytest.approx(error / len(judged))


def check_money(found: dict[str, Any], own: pd.DataFrame) -> None:
    frauds = own[own["standing"] == FRAUD]
    caught, missed = frauds[frauds["decision"] > 0], frauds[frauds["decision"] == 0]
    money = found["money"]
    assert money["caught"]["value"] == pytest.approx(caught["amount"].sum())
    assert money["caught"]["frauds"] == len(caught)
    assert money["caught"]["frauds_of_unknown_amount"] == 0
    low, high = money["caught"]["interval"]
    assert low < money["caught"]["value"] < high
    assert money["missed"] == {
        "value": 0.0,
        "interval": None,
        "frauds": len(missed),
        "frauds_of_unknown_amount": len(missed),
    }


def check_products(found: list[dict[str, Any]], own: pd.DataFrame, judged: pd.DataFrame) -> None:
    assert {row["product"] for row in found} == {"W", "C", "H"}
    for row in found:
        part = own[(own["product"] == row["product"]) & (own["decision"] > 0)]
        assert row["flagged"] == len(part)
        assert row["blocked"] == (part["decision"] == 2).sum()
        flagged = judged[(judged["product"] == row["product"]) & (judged["decision"] > 0)]
        matured = row["precision"]["review"]["matured"]
        assert matured["n"] == len(flagged)
        assert matured["value"] == pytest.approx((flagged["standing"] == FRAUD).mean())
        reviewed = part[part["analyst"].isin([0, 1])]
        assert row["precision"]["review"]["reviewed"]["value"] == pytest.approx(
            reviewed["analyst"].mean()
        )
        frauds = part[part["standing"] == FRAUD]
        assert row["caught"]["value"] == pytest.approx(frauds["amount"].sum())


def test_average_precision_of_any_scores_is_within_the_bounds_of_the_bins() -> None:
    rows, labels, table = sample(3000, seed=2, steps=0)
    rows = rows._replace(versions=np.zeros(3000, np.int32), version_names=("v1",))
    counts = count(rows, labels)
    mature = table[table["age"] > 14]
    judged = mature[(mature["decision"] < 2) | mature["standing"].notna()]
    judged = judged[judged["standing"] != UNSURE]
    expected = average_precision_score(judged["standing"] == FRAUD, judged["score"])
    low, high = bounds_of_average_precision(counts.versions["v1"])
    assert low <= expected <= high
    assert high - low < 0.01
    (found,) = all_figures(counts, {})
    assert low <= found["average_precision"]["matured"]["value"] <= high


def test_bins_are_ordered_as_scores_and_narrow() -> None:
    scores = np.sort(np.random.default_rng(3).random(5000) ** 4)
    bins = bins_of(scores)
    assert (np.diff(bins) >= 0).all()
    assert bins_of(np.array([0.0, -0.0, 5e-324, 1.0])).tolist() == [0, 0, 0, BINS - 1]
    same = np.flatnonzero(np.diff(bins) == 0)
    large = same[scores[same] > 2.0**-24]
    assert ((scores[large + 1] - scores[large]) <= scores[large] / 2000).all()


def test_without_chargebacks_nothing_is_said_of_what_was_not_flagged() -> None:
    labels = make_labels({0: {"analyst": FRAUD}, 1: {"analyst": LEGITIMATE}})
    (found,) = all_figures(count(make_rows([0.7, 0.6, 0.1]), labels), {})
    for figure in (
        found["recall"]["review"]["matured"],
        found["recall"]["review"]["reviewed"],
        found["recall"]["review"]["sampled"],
        found["precision"]["review"]["matured"],
        found["average_precision"]["matured"],
        found["calibration"]["matured"],
    ):
        assert figure["value"] is None
        assert figure["reason"].startswith("not estimable from these labels: ")
    assert found["precision"]["review"]["reviewed"]["value"] == 0.5
    assert found["precision"]["block"]["reviewed"]["value"] is None


def test_young_scores_are_in_no_matured_figure() -> None:
    times = np.array([NOW - 13 * DAY, NOW - 15 * DAY, NOW - 15 * DAY])
    rows = make_rows([0.7, 0.6, 0.1], times=times)
    labels = make_labels({0: {"report": FRAUD}, 2: {"report": FRAUD}})
    (found,) = all_figures(count(rows, labels), {})
    assert found["matured"] == 2
    assert found["precision"]["review"]["matured"] == {
        "value": 0.0, "interval": interval(0, 1), "n": 1,
    }  # fmt: skip
    assert found["recall"]["review"]["matured"]["n"] == 1


def test_random_lane_gives_recall_with_its_weights() -> None:
    """Of 900 unflagged, 30 were sampled at .1 and 6 at .02; two frauds of different weight."""
    scores = np.concatenate([np.full(100, 0.7), np.full(900, 0.1)])
    is_sampled = np.zeros(1000, np.bool_)
    is_sampled[100:136] = True
    shares = np.full(1000, np.nan)
    shares[100:130], shares[130:136] = 0.1, 0.02
    rows = make_rows(
        scores,
        is_sampled=is_sampled,
        shares=shares,
        amounts=np.where(is_sampled | (scores > 0.5), 10.0, np.nan),
    )
    known = {i: {"analyst": FRAUD if i < 40 else LEGITIMATE} for i in range(50)}
    known |= {i: {"analyst": FRAUD if i in (100, 130) else LEGITIMATE} for i in range(100, 136)}
    (found,) = all_figures(count(rows, make_labels(known)), {})
    # 30 rows of weight 10 and 6 of weight 50 stand for 900: 1.5 times as much each.
    flagged_frauds, missed = 40 * 2.0, 15.0 + 75.0
    recall = found["recall"]["review"]["sampled"]
    assert recall["value"] == pytest.approx(flagged_frauds / (flagged_frauds + missed))
    weights = np.array([2.0] * 40 + [15.0, 75.0])
    worth = weights.sum() ** 2 / np.square(weights).sum()
    assert recall["interval"] == interval(recall["value"] * worth, worth)
    money = found["money"]["missed_in_sample"]["sampled"]
    assert money["value"] == pytest.approx(missed * 10.0)
    assert money["interval"][0] < money["value"] < money["interval"][1]
    assert found["labels"]["sampled"] == {"frauds": 2, "legitimate": 34}
    assert found["money"]["missed"]["value"] == pytest.approx(20.0)


def test_transaction_that_came_twice_is_counted_twice_unless_its_label_says_which() -> None:
    rows = make_rows(
        [0.7, 0.6, 0.7, 0.6],
        transactions=np.array([5, 5, 6, 6]),
        offsets=np.arange(4),
    )
    labels = make_labels(
        {5: {"analyst": FRAUD}, 6: {"analyst": FRAUD, "partition": 0, "offset": 3}}
    )
    counts = count(rows, labels)
    assert len(counts.versions["v1"].labelled.scores) == 3
    assert counts.finish() == {"labels_of_several_scores": 1}


def test_labels_that_do_not_fit_are_counted_and_said() -> None:
    labels = make_labels(
        {
            0: {"analyst": LEGITIMATE, "report": FRAUD},
            1: {"analyst": FRAUD, "at": NOW + 1},
            77: {"report": FRAUD},
        }
    )
    counts = count(make_rows([0.7, 0.6]), labels)
    assert counts.finish() == {
        "conflicting_labels": 1,
        "labels_from_the_future": 1,
        "labels_of_unknown_transactions": 1,
    }
    rows = counts.versions["v1"].labelled
    assert (rows.standing.tolist(), rows.analyst.tolist()) == ([FRAUD], [LEGITIMATE])


def test_scores_outside_the_window_are_left_out() -> None:
    times = np.array([NOW - 61 * DAY, NOW - DAY, NOW + DAY])
    counts = count(make_rows([0.7, 0.6, 0.5], times=times), make_labels({}))
    assert counts.versions["v1"].rows == 1
    assert counts.finish() == {"scores_from_the_future": 1}


@pytest.mark.parametrize(("frauds", "is_worse"), [(70, False), (50, True)])
def test_change_against_the_promise_is_judged_beyond_chance(frauds: int, is_worse: bool) -> None:
    """80 % were promised on 200 rows."""
    known = {i: {"analyst": FRAUD if i < frauds else LEGITIMATE} for i in range(100)}
    counts = count(make_rows(np.full(100, 0.7)), make_labels(known))
    (found,) = all_figures(counts, {"v1": {"review": Promise(160, 200)}})
    change = found["precision_change"]["review"]["reviewed"]
    expected = share_difference((frauds, 100), (160, 200))
    assert (change["value"], *change["interval"]) == pytest.approx(expected)
    assert (change["interval"][1] < 0) is is_worse
    assert found["promised_precision"] == {"review": {"value": 0.8, "rows": 200}, "block": None}
    why = "the metadata states no precision"
    assert found["precision_change"]["block"]["reviewed"]["reason"] == why


def test_random_names_of_versions_and_products_do_not_fill_the_memory() -> None:
    n = 500
    rows = make_rows(
        np.full(n, 0.7),
        versions=np.arange(n, dtype=np.int32),
        version_names=tuple(f"v{i}" for i in range(n)),
        products=np.arange(n, dtype=np.int16),
        product_names=tuple(f"p{i}" for i in range(n)),
    )
    counts = count(rows, make_labels({}))
    assert len(counts.versions) == MAX_VERSIONS + 1
    assert len(counts.product_names) <= MAX_PRODUCTS + 1
    assert counts.versions[OTHERS].rows == n - MAX_VERSIONS
    total = sum(one[0] for v in counts.versions.values() for one in v.products.values())
    assert total == n


def test_nothing_scored_gives_no_version() -> None:
    counts = QualityCounts(make_labels({}), 0, 0, NOW)
    assert all_figures(counts, {}) == []
    assert counts.finish() == {}
