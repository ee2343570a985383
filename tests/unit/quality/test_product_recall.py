"""Recall by product against plain pandas, and where it cannot be estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from stream_scorer.cli.quality import report_lines
from stream_scorer.quality.amounts import Place, Stated, fill_amounts
from stream_scorer.quality.counts import QualityCounts
from stream_scorer.quality.estimates import wilson
from stream_scorer.quality.figures import all_figures
from stream_scorer.quality.page import build_page
from stream_scorer.quality.run import QualityOptions, result_of
from tests.support.quality.kit import DAY, FRAUD, LEGITIMATE, NOW, count, make_labels, make_rows

N = 3000
PRODUCTS = ("W", "C", "H", "R")


def sample(reported: float = 0.8) -> tuple[QualityCounts, pd.DataFrame]:
    """Counted scores with labels, and what is true of them. ``R`` is never flagged."""
    rng = np.random.default_rng(4)
    product = rng.integers(0, 4, N)
    is_fraud = rng.random(N) < 0.2
    scores = np.clip(rng.beta(1, 3, N) + 0.4 * is_fraud, 0, 1)
    scores[product == 3] *= 0.4
    age = rng.integers(1, 50, N)
    is_sampled = (scores < 0.5) & (rng.random(N) < 0.3)
    states = (scores >= 0.5) | is_sampled
    rows = make_rows(
        scores,
        times=NOW - age * DAY,
        is_sampled=is_sampled,
        shares=np.where(is_sampled, 0.3, np.nan),
        products=np.where(states, product, -1).astype(np.int16),
        product_names=PRODUCTS,
        amounts=np.where(states, 5.0, np.nan),
    )
    known: dict[int, dict[str, int]] = {}
    for i in range(N):
        if states[i] and rng.random() < 0.5:
            known[i] = {"analyst": FRAUD if is_fraud[i] else LEGITIMATE}
        if is_fraud[i] and rng.random() < reported:
            known.setdefault(i, {})["report"] = FRAUD
    table = pd.DataFrame(
        {
            "decision": rows.decisions,
            "age": age,
            "product": np.array(PRODUCTS)[product],
            "is_sampled": is_sampled,
            "analyst": [known.get(i, {}).get("analyst") for i in range(N)],
            "report": [known.get(i, {}).get("report") for i in range(N)],
        }
    )
    table["standing"] = table["report"].fillna(table["analyst"])
    return count(rows, make_labels(known)), table


def read_inputs(table: pd.DataFrame) -> Any:
    """What the inputs state: the offset of a record is its row."""

    def read(places: list[Place]) -> dict[Place, Stated]:
        products = [table["product"][place[1]] for place in places]
        return {
            place: Stated(5.0, None if pd.isna(product) else str(product))
            for place, product in zip(places, products, strict=True)
        }

    return read


def test_recall_by_product_equals_a_plain_computation() -> None:
    counts, table = sample()
    fill_amounts(counts, read_inputs(table))
    (found,) = all_figures(counts, {})
    assert {row["product"] for row in found["products"]} == set(PRODUCTS)
    frauds = table[(table["age"] > 14) & (table["standing"] == FRAUD)]
    weights = weights_of(table)
    reviewed = table[weights > 0].assign(weight=weights[weights > 0])
    reviewed = reviewed[reviewed["analyst"] == FRAUD]
    for row in found["products"]:
        for name, level in (("review", 1), ("block", 2)):
            figures = row["recall"][name]
            own = frauds[frauds["product"] == row["product"]]
            caught = int((own["decision"] >= level).sum())
            assert figures["matured"] == {
                "value": pytest.approx(caught / len(own)),
                "interval": pytest.approx([float(end) for end in wilson(caught, len(own))]),
                "n": len(own),
            }
            assert figures["reviewed"]["value"] is None
            part = reviewed[reviewed["product"] == row["product"]]
            reached = part.loc[part["decision"] >= level, "weight"].sum()
            assert figures["sampled"]["value"] == pytest.approx(reached / part["weight"].sum())
            assert figures["sampled"]["n"] == len(part)
    # All that was caught of all products is what was caught.
    caught = sum(r["recall"]["review"]["matured"]["value"] * r["recall"]["review"]["matured"]["n"]
                 for r in found["products"])  # fmt: skip
    whole = found["recall"]["review"]["matured"]
    assert caught == pytest.approx(whole["value"] * whole["n"])
    (never,) = [row for row in found["products"] if row["product"] == "R"]
    assert (never["flagged"], never["recall"]["review"]["matured"]["value"]) == (0, 0.0)


def weights_of(table: pd.DataFrame) -> pd.Series[float]:
    """How many scores each one stands for that an analyst decided about, by decision."""
    is_judged = table["analyst"].notna() & ((table["decision"] > 0) | table["is_sampled"])
    all_of = table.groupby("decision")["age"].transform("size")
    judged_of = is_judged.groupby(table["decision"]).transform("sum")
    return (all_of / judged_of).where(is_judged, 0.0)


def test_no_recall_of_any_product_while_the_product_of_a_fraud_is_not_known() -> None:
    counts, table = sample()
    gone: list[Place] = []

    def read(places: list[Place]) -> dict[Place, Stated]:
        found: dict[Place, Stated] = read_inputs(table)(places)
        gone.append(next(place for place in places if table["age"][place[1]] > 14))
        del found[gone[0]]  # retention has removed its input
        return found

    fill_amounts(counts, read)
    total = int(((table["age"] > 14) & (table["standing"] == FRAUD)).sum())
    reason = f"not estimable from these labels: the product of 1 of {total:,} frauds is not known"
    options = QualityOptions(since=0)
    result = result_of(counts, options, lambda _: {}, {}, 0.0, {}).as_json()
    for row in result["versions"][0]["products"]:
        figures = row["recall"]["review"]
        assert figures["matured"] == {"value": None, "interval": None, "n": 0, "reason": reason}
        assert figures["sampled"]["value"] is not None
    text, page = "\n".join(report_lines(result)), build_page(result)
    assert text.count(f"recall, matured: {reason}") == 1
    assert page.count(f"Recall, matured: {reason}.") == 1
    assert "not estimable" in page


def test_fraud_without_a_product_is_of_none_and_hides_no_recall() -> None:
    counts, table = sample()
    table["product"] = table["product"].where(table.index % 7 != 0, None)
    fill_amounts(counts, read_inputs(table))
    (found,) = all_figures(counts, {})
    assert all(row["recall"]["review"]["matured"]["value"] is not None
               for row in found["products"])  # fmt: skip


def test_labels_that_cannot_say_it_give_no_recall_by_product() -> None:
    counts, table = sample(reported=0.0)
    fill_amounts(counts, read_inputs(table))
    (found,) = all_figures(counts, {})
    assert found["products"]
    for row in found["products"]:
        assert "no chargeback" in row["recall"]["review"]["matured"]["reason"]
        assert "flagged transactions only" in row["recall"]["review"]["reviewed"]["reason"]
