"""Percentiles from the reference histograms, and sentences about values."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from dashboard.explain import percentile, sentence
from stream_scorer.features.program import parse_program
from stream_scorer.model.bundle import Bundle
from tests.support.factories import make_bundle

DECILES = {"edges": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], "counts": [10] * 10}


def bundle_with(feature: str, histogram: Any) -> Bundle:
    metadata = {**make_bundle().metadata, "reference": {"features": {feature: histogram}}}
    return replace(make_bundle(), metadata=metadata)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("9", "higher than 90 % of transactions"),
        ("1e300", "higher than 90 % of transactions"),
        ("6", "higher than 60 % of transactions"),
        ("4.5", "in the middle half of transactions"),
        ("0", "lower than 90 % of transactions"),
        ("-3", "lower than 90 % of transactions"),
        (2.5, "lower than 70 % of transactions"),
        (None, None),
        ("visa", None),
        ("nan", None),
    ],
)
def test_percentile_claims_only_what_is_certain(
    value: str | float | None, expected: str | None
) -> None:
    bundle = bundle_with("C1", DECILES | {"missing": 0})
    assert percentile(bundle, "C1", value) == expected


def test_percentile_of_a_long_tail_does_not_round_up() -> None:
    bundle = bundle_with("C1", {"edges": [5.0, 50.0], "counts": [9989, 0, 11], "missing": 0})
    assert percentile(bundle, "C1", "51") == "higher than 99.8 % of transactions"
    nearly = bundle_with("C1", {"edges": [5.0], "counts": [99_999, 1], "missing": 0})
    assert percentile(nearly, "C1", "51") == "higher than 99.9 % of transactions"


def test_value_shared_by_most_rows_is_neither_high_nor_low() -> None:
    bundle = bundle_with("C1", {"edges": [1.0], "counts": [0, 21_561], "missing": 0})
    assert percentile(bundle, "C1", "1") is None
    assert percentile(bundle, "C1", "0") == "lower than 100 % of transactions"


def test_missing_values_are_compared_with_missing_values() -> None:
    bundle = bundle_with("D2", DECILES | {"missing": 100})
    assert percentile(bundle, "D2", None) == "as in 50 % of transactions"
    assert percentile(bundle, "D2", "0") == "lower than 90 % of transactions that have it"


@pytest.mark.parametrize("feature", ["card1", "addr1", "P_emaildomain", "DeviceInfo", "unknown"])
def test_names_and_categories_are_neither_high_nor_low(feature: str) -> None:
    bundle = bundle_with(feature, DECILES | {"missing": 0})
    assert percentile(bundle, feature, "9") is None


@pytest.mark.parametrize(
    "histogram",
    [
        None,
        [],
        {},
        {"edges": [1.0], "counts": [1], "missing": 0},
        {"edges": [2.0, 1.0], "counts": [1, 1, 1], "missing": 0},
        {"edges": [1.0], "counts": [-1, 1], "missing": 0},
        {"edges": [1.0], "counts": [0, 0], "missing": 0},
        {"edges": ["x"], "counts": [1, 1], "missing": 0},
        {"edges": [float("nan")], "counts": [1, 1], "missing": 0},
        {"edges": [1.0], "counts": [1, 1], "missing": float("nan")},
        {"edges": [1.0], "counts": [1, 1]},
        {"edges": [10**400], "counts": [1, 1], "missing": 0},
        {"edges": [1.0], "counts": {"a": 1}, "missing": 0},
    ],
)
def test_invalid_histogram_says_nothing(histogram: Any) -> None:
    assert percentile(bundle_with("C1", histogram), "C1", "9") is None
    assert percentile(replace(make_bundle(), metadata={}), "C1", "9") is None


@pytest.mark.parametrize(
    ("text", "value", "compared", "expected"),
    [
        ("count (C13)", "28", "higher than 90 % of transactions",
         "The count (C13) is 28, higher than 90 % of transactions."),
        ("count (C13)", "0", None, "The count (C13) is 0."),
        ("count (C13)", None, None, "The count (C13) is missing."),
        ("days since an earlier event (D2)", None, "as in 47 % of transactions",
         "The time since an earlier event (D2) is missing, as in 47 % of transactions."),
        ("days since an earlier event (D2)", "0", None,
         "The time since an earlier event (D2) is 0 days."),
        ("days since an earlier event (D2)", "1", None,
         "The time since an earlier event (D2) is 1 day."),
        ("days since an earlier event (D2)", "120.5", None,
         "The time since an earlier event (D2) is 120.5 days."),
        ("seconds since the last transaction (client history)", "90", None,
         "The time since the last transaction (client history) is 1.5 minutes."),
        ("seconds since the last transaction (client history)", "7200", None,
         "The time since the last transaction (client history) is 2 hours."),
        ("seconds since the last transaction (client history)", "2", None,
         "The time since the last transaction (client history) is 2 seconds."),
        ("seconds since the first one, up to 90 days (client history)", "86400", None,
         "The time since the first one, up to 90 days (client history), is 1 day."),
        ("product code", "W", None, "The product code is W."),
        ("description of the device", "", None, "The description of the device is an empty text."),
        ("description of the device", "  ", None, "The description of the device is a blank text."),
        ("description of the device", "x" * 500, None,
         f"The description of the device is {'x' * 120}…."),
        ("share of transactions with the same product code", "0.000125", None,
         "The share of transactions with the same product code is 0.0125 %."),
        ("earlier transactions, up to 64 (client history)", "3", None,
         "The number of earlier transactions, up to 64 (client history), is 3."),
        ("whether details match (M4)", "T", None,
         "The answer to whether details match (M4) is yes."),
        ("whether details match (M4)", "M2", None,
         "The answer to whether details match (M4) is M2."),
        ("whether details match (M4)", None, None, "It is not known whether details match (M4)."),
        ("amount, divided by the largest earlier one (client history)", "4.1", None,
         "The amount, divided by the largest earlier one (client history), is 4.1."),
        ("V258", "3", None, "V258 is 3."),
    ],
)  # fmt: skip
def test_sentence_is_plain(
    text: str, value: str | None, compared: str | None, expected: str
) -> None:
    assert sentence(text, value, compared) == expected


@pytest.mark.parametrize("program", ["default-1", "history-1", "ieee-cis-1", "raw-1"])
def test_every_feature_of_the_built_in_programs_has_a_sentence(program: str) -> None:
    path = files("stream_scorer.features") / "programs" / f"{program}.toml"
    for text in parse_program(path.read_text(encoding="utf-8")).texts.values():
        for value in (None, "0", "1", "2.5", "gmail.com"):
            found = sentence(text, value)
            assert found.endswith(".")
            assert "  " not in found
            assert ("missing" in found or "not known" in found) == (
                value is None or "missing" in text
            )
