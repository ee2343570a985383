"""What would have to differ: every claim is scored again by the model, and the cost is bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dashboard.explaining import changes as changes_module
from dashboard.explaining.candidates import columns_of, find_candidates
from dashboard.explaining.changes import MAX_ROWS, Changes, find_changes
from schemas.batch import HistoryColumns, TransactionBatch, build_batch
from schemas.contracts import NUMBER_COLUMNS, NUMBER_INDEX, TEXT_COLUMNS
from stream_scorer.model.bundle import Bundle, Thresholds
from stream_scorer.model.scoring import Decision, attribute, score
from tests.support.dashboard_kit import make_transaction, tiny_bundle
from tests.support.factories import make_batch, make_bundle, make_transactions


def search(batch: TransactionBatch, bundle: Bundle) -> Changes:
    scores = score(batch, bundle)
    pushes = attribute(batch, bundle, scores.raw, bundle.predictor)[0].contributions
    return find_changes(batch, bundle, Decision(int(scores.decisions[0])), pushes)


def rows_of(changes: Changes) -> list[Any]:
    reached = [outcome for field in changes.fields for outcome in field.reached.values()]
    lowest = [field.lowest for field in changes.fields if field.lowest is not None]
    return [*reached, *lowest, *changes.pairs.values()]


def test_every_outcome_is_what_the_model_says_of_the_changed_transaction() -> None:
    bundle = tiny_bundle()
    checked = 0
    for amount, count in ((990.0, 39.0), (990.0, 1.0), (400.0, 39.0), (702.0, 36.0)):
        row = make_transaction(1, amount, C13=count, P_emaildomain="gmail.com")
        found = search(build_batch([row]), bundle)
        for outcome in rows_of(found):
            changed = row | {change.column: change.after for change in outcome.changes}
            again = score(build_batch([changed]), bundle)
            assert again.scores[0] == outcome.score
            assert again.decisions[0] == outcome.decision
            assert all(row.get(c.column) == c.before != c.after for c in outcome.changes)
            checked += 1
    assert checked >= 10


def test_blocked_transaction_has_both_goals_and_the_smallest_change_for_each() -> None:
    bundle = tiny_bundle()
    found = search(build_batch([make_transaction(1, 990.0, C13=1.0)]), bundle)
    assert found.goals == (Decision.REVIEW, Decision.APPROVE)
    amount = next(field for field in found.fields if field.column == "TransactionAmt")
    reached = amount.reached[Decision.APPROVE]
    assert reached.decision == Decision.APPROVE
    new = reached.changes[0].after
    assert isinstance(new, float)
    candidates = find_candidates(bundle, "TransactionAmt", 990.0, 300)
    for value in candidates:  # every smaller change is not enough
        if isinstance(value, float) and abs(value - 990.0) < abs(new - 990.0):
            row = make_transaction(1, value, C13=1.0)
            assert score(build_batch([row]), bundle).decisions[0] != Decision.APPROVE


def two_alarms() -> Bundle:
    """A bundle in which a large amount and a large count each raise the score far enough."""
    return replace(tiny_bundle(), thresholds=Thresholds(0.02, 2.0))


def test_pair_is_given_where_no_single_input_is_enough() -> None:
    found = search(build_batch([make_transaction(1, 990.0, C13=39.0)]), two_alarms())
    assert found.goals == (Decision.APPROVE,)
    assert all(not field.reached for field in found.fields)
    pair = found.pairs[Decision.APPROVE]
    assert {change.column for change in pair.changes} == {"TransactionAmt", "C13"}
    assert pair.decision == Decision.APPROVE
    assert all(field.lowest is not None for field in found.fields)


def test_nothing_is_claimed_where_nothing_is_enough() -> None:
    bundle = replace(tiny_bundle(), thresholds=Thresholds(0.0, 2.0))
    found = search(build_batch([make_transaction(1, 990.0, C13=39.0)]), bundle)
    assert found.pairs == {}
    assert all(not field.reached for field in found.fields)
    assert found.rows > 0


def test_approved_transaction_needs_no_change() -> None:
    found = search(build_batch([make_transaction(1, 10.0, C13=1.0)]), tiny_bundle())
    assert (found.goals, found.fields, found.rows) == ((), (), 0)


def test_cost_is_bounded_whatever_the_model_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def count(batch: TransactionBatch, bundle: Bundle) -> Any:
        sizes.append(len(batch))
        return score(batch, bundle)

    monkeypatch.setattr(changes_module, "score", count)
    golden = {"rows": make_transactions(64, 3)}
    histogram = {"edges": np.linspace(0, 900, 900).tolist(), "counts": [1] * 901, "missing": 0}
    names = make_bundle().features.names
    metadata = {"golden": golden, "reference": {"features": dict.fromkeys(names, histogram)}}
    bundle = replace(make_bundle(), metadata=metadata, thresholds=Thresholds(0.0, 2.0))
    for row in range(20):
        sizes.clear()
        found = search(make_batch(20, 9).take([row]), bundle)
        assert sum(sizes) <= found.rows + 2  # the two whose pushes are looked at again
        assert sum(sizes) <= MAX_ROWS
        assert len([size for size in sizes if size > 1]) <= 2  # singles at once, and pairs at once
        for outcome in rows_of(found):
            assert outcome.distance >= 0


def test_long_text_in_the_transaction_is_kept_and_not_multiplied() -> None:
    row = make_transaction(1, 990.0, C13=39.0, DeviceInfo="x" * 4_000_000)
    batch = build_batch([row])
    found = search(batch, two_alarms())
    assert found.pairs
    varied = changes_module._vary(batch, [outcome.changes for outcome in rows_of(found)])
    assert len(varied.text) < 4_010_000
    assert varied.string(0, TEXT_COLUMNS.index("DeviceInfo")) == row["DeviceInfo"]


def test_history_of_the_card_is_held_fixed() -> None:
    batch = build_batch([make_transaction(1, 990.0)])
    history = HistoryColumns("spec", np.array([[1.5, np.nan]]))
    changed = changes_module.Change("C1", None, 3.0)
    varied = changes_module._vary(batch.with_history(history), [[changed], []])
    assert varied.history is not None
    assert np.array_equal(varied.history.values, [[1.5, np.nan]] * 2, equal_nan=True)
    assert varied.numbers[:, NUMBER_INDEX["C1"]].tolist()[0] == 3.0
    assert np.isnan(varied.numbers[1, NUMBER_INDEX["C1"]])


def test_feature_depends_on_no_other_column_than_those_named() -> None:
    bundle = make_bundle()
    rows = make_transactions(2, 8)
    before = bundle.features.transform(build_batch(rows[:1]))[0]
    other = dict.fromkeys(NUMBER_COLUMNS, 7.25) | dict.fromkeys(TEXT_COLUMNS, "other")
    named = 0
    for i, feature in enumerate(bundle.features.names):
        columns = columns_of(bundle, feature)
        if not columns:
            continue
        named += 1
        row = rows[0] | {name: value for name, value in other.items() if name not in columns}
        after = bundle.features.transform(build_batch([row]))[0, i]
        assert np.array_equal(before[i], after, equal_nan=True), feature
    assert named > 400


@pytest.mark.parametrize(
    ("column", "now", "kind"),
    [
        ("TransactionAmt", 50.0, float),
        ("C1", None, float),
        ("card4", "visa", str),
        ("P_emaildomain", None, str),
        ("id_38", "T", str),
    ],
)
def test_candidates_differ_from_the_value_and_are_of_its_kind(
    column: str, now: Any, kind: type
) -> None:
    found = find_candidates(make_bundle(), column, now, 12)
    assert len(found) <= 12
    assert len(set(found)) == len(found)
    assert now not in found
    assert all(value is None or type(value) is kind for value in found)
    assert (None in found) == (now is not None and column != "TransactionAmt")
    if isinstance(now, float):
        steps = [abs(value - now) for value in found if isinstance(value, float)]
        assert steps == sorted(steps)
        assert all(isinstance(value, float) and value > 0 for value in found)
