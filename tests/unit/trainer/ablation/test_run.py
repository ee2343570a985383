"""Fits of an ablation: what they are equal to, side by side, interrupted and continued."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import UsageError
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.runtime.openmp import load_openmp
from tests.support.ablation.kit import (
    PAIRS,
    PROGRAM,
    SMALL,
    FakeWindows,
    candidate,
    make_ablation,
    make_part,
)
from tests.support.training.history_kit import make_history_program
from trainer.ablation.cost import measure_variant, only_operations
from trainer.ablation.fit import Fitter, Rows, Stopped
from trainer.ablation.run import Ablation
from trainer.ablation.variants import plan_variants
from trainer.evaluation.measures import average_precision, rank
from trainer.fitting.fit_lightgbm import parameters


def nothing() -> None:
    pass


def found(ablation: Ablation) -> dict[tuple[str, int, str], float]:
    results = (ablation.results.find(f.window, f.seed, f.variant) for f in ablation.fits())
    return {(r.window, r.seed, r.variant): r.average_precision for r in results if r is not None}


def test_variant_is_what_plain_training_without_the_group_gives() -> None:
    """The reference bins a matrix of the smaller program, and knows nothing of columns."""
    load_openmp()
    import lightgbm

    train, test = make_part(200, 1), make_part(120, 2)
    features, matrix = FeatureSet.fit_transform(train.batch, PROGRAM)
    later = features.transform(test.batch)
    fitter = Fitter(Rows(matrix, train.labels), Rows(later, test.labels))
    model = SMALL.model(5)
    for judged in plan_variants(PROGRAM).judged:
        smaller, plain = FeatureSet.fit_transform(train.batch, PROGRAM.without([judged.group]))
        dataset = lightgbm.Dataset(plain, label=train.labels, params=parameters(model))
        booster = lightgbm.train(parameters(model), dataset, model.trees)
        scores = booster.predict(smaller.transform(test.batch), raw_score=True)
        expected = average_precision(rank(scores, test.labels))
        assert fitter.average_precision(judged.without_it.columns, model) == expected
        assert expected > test.labels.mean()


def test_results_do_not_depend_on_the_number_of_jobs() -> None:
    alone = make_ablation()
    alone.run(nothing)
    beside = make_ablation(plan=replace(SMALL, jobs=3))
    beside.run(nothing)
    assert len(found(alone)) == 2 * 6
    assert found(alone) == found(beside)
    assert len(set(found(alone).values())) > 6


def test_interrupted_run_continues_with_what_is_missing() -> None:
    whole = make_ablation()
    whole.run(nothing)
    ablation, fits = make_ablation(), 0

    def interrupt() -> None:
        nonlocal fits
        fits += 1
        if fits == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ablation.run(interrupt)
    # A fit that ended while the interrupt was handled is not lost either way: it is run again.
    assert len(found(ablation)) == 8
    source = FakeWindows()
    again = replace(ablation, source=source)
    done = 0

    def count() -> None:
        nonlocal done
        done += 1

    again.run(count)
    assert done == 4
    assert source.loaded == ["second"]
    assert found(again) == found(whole)
    assert again.missing() == []


def test_more_seeds_and_groups_only_add_fits() -> None:
    first = make_ablation(variants=plan_variants(PROGRAM, groups=["counts"]))
    first.run(nothing)
    more = make_ablation(FakeWindows(all_seeds=(1, 2)), results=first.results)
    assert len(more.missing()) == 2 * 6 * 2 - 2 * 3


def test_equal_variants_are_fitted_once() -> None:
    ablation = make_ablation(variants=plan_variants(PROGRAM, [candidate(PAIRS)], ["pairs"]))
    keys = [fit.variant.key for fit in ablation.fits() if fit.window == "first"]
    assert len(keys) == 3  # raw, whole, and the candidate added, which is everything


def test_other_rows_under_the_same_name_are_refused() -> None:
    first = make_ablation(variants=plan_variants(PROGRAM, groups=["counts"]))
    first.run(nothing)
    other = replace(
        make_ablation(FakeWindows(shift=3), results=first.results), path=Path("out.json")
    )
    with pytest.raises(UsageError, match=r"out.json: the results for first are of other rows"):
        other.run(nothing)


def test_failing_fit_ends_the_run_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> float:
        raise UsageError("LightGBM: no")

    monkeypatch.setattr(Fitter, "average_precision", fail)
    with pytest.raises(UsageError, match="LightGBM: no"):
        make_ablation(plan=replace(SMALL, jobs=2)).run(nothing)


def test_stopped_fit_ends() -> None:
    part = make_part(60, 1)
    rows = Rows(np.zeros((60, 2)), part.labels)
    fitter = Fitter(rows, rows)
    fitter.stop.set()
    with pytest.raises(Stopped):
        fitter.average_precision((0, 1), SMALL.model(1))


def test_matrix_is_freed_after_its_last_fit() -> None:
    part = make_part(60, 1)
    rows = Rows(np.random.default_rng(1).normal(size=(60, 3)), part.labels)
    freed = weakref.ref(rows.matrix)
    gc.disable()  # large matrices must not wait for the collector of reference cycles
    try:
        Fitter(rows, rows).average_precision((0, 2), SMALL.model(1))
        del rows
        assert freed() is None
    finally:
        gc.enable()


def test_each_group_has_a_cost() -> None:
    ablation = make_ablation(FakeWindows(names=("first",)))
    ablation.run(nothing)
    costs = [ablation.results.costs[judged.alone.digest] for judged in ablation.variants.judged]
    assert all(cost > 0 for cost in costs)


def test_cost_is_the_fastest_of_some_rounds_and_of_the_group_alone() -> None:
    part = make_part(100, 1)
    features = FeatureSet.fit(part.batch, PROGRAM)
    (shares,) = plan_variants(PROGRAM, groups=["shares"]).judged
    alone = only_operations(features, shares.alone.operations)
    whole = features.transform(part.batch)
    assert alone.names == ("card1_share", "P_emaildomain_share")
    assert np.array_equal(alone.transform(part.batch), whole[:, [2, 3]])
    times = iter(np.cumsum([5.0, 3.0, 9.0, 0.5, *range(1, 15)]).tolist())
    assert measure_variant(features, shares.alone, part.batch, lambda: next(times)) == 5_000.0


def test_cost_of_history_is_that_of_its_step() -> None:
    program = make_history_program()
    batch = make_part(100, 1).batch
    features = FeatureSet.fit(batch, program)
    (mail,) = plan_variants(program, groups=["history:mail"]).judged
    assert mail.alone.operations == ()
    times = iter(np.cumsum([5.0, 3.0, 9.0, 0.5, *range(1, 17)]).tolist())
    assert measure_variant(features, mail.alone, batch, lambda: next(times)) == 5_000.0
    (times_group,) = plan_variants(program, groups=["times"]).judged
    assert measure_variant(features, times_group.alone, batch) > 0


def test_results_of_another_digest_are_not_used() -> None:
    ablation = make_ablation(FakeWindows(names=("first",)))
    ablation.run(nothing)
    smaller = plan_variants(PROGRAM.without(["texts"]))
    changed = make_ablation(FakeWindows(names=("first",)), smaller, results=ablation.results)
    keys = {fit.variant.key for fit in changed.missing()}
    # "whole" is now what was "without:texts" before, and raw columns are what they were.
    assert keys == {"without:amount", "without:counts", "without:shares"}
