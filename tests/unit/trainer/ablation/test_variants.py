"""Which features each variant has, and that leaving out columns is leaving out operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import UsageError
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import ProgramError
from tests.support.ablation.kit import (
    AMOUNT,
    COUNTS,
    PAIRS,
    PROGRAM,
    SHARES,
    candidate,
    make_program,
    operation,
)
from tests.support.factories import make_batch
from tests.support.factories import make_program as make_built_in
from trainer.ablation.variants import EVERYTHING, RAW, WHOLE, plan_variants
from trainer.programs.chosen import ChosenProgram

BUILT_IN = make_built_in()


def same_bits(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a.view(np.uint64), b.view(np.uint64)))


@pytest.fixture(scope="module")
def computed() -> Any:
    """The built-in program on earlier and on later rows."""
    features, matrix = FeatureSet.fit_transform(make_batch(150, 1), BUILT_IN)
    return matrix, features.transform(make_batch(60, 2))


@pytest.mark.parametrize("group", sorted(set(BUILT_IN.groups.values())))
def test_leaving_out_columns_is_leaving_out_operations(computed: Any, group: str) -> None:
    (judged,) = plan_variants(BUILT_IN, groups=[group]).judged
    columns = list(judged.without_it.columns)
    features, matrix = FeatureSet.fit_transform(make_batch(150, 1), BUILT_IN.without([group]))
    assert 0 < len(columns) < len(BUILT_IN.names)
    assert tuple(BUILT_IN.names[i] for i in columns) == features.names
    assert same_bits(computed[0][:, columns], matrix)
    assert same_bits(computed[1][:, columns], features.transform(make_batch(60, 2)))


def test_every_group_is_left_out_once() -> None:
    variants = plan_variants(PROGRAM)
    assert variants.everything is None
    assert [judged.group for judged in variants.judged] == ["amount", "counts", "shares", "texts"]
    keys = [variant.key for variant in variants.distinct()]
    left_out = [f"without:{judged.group}" for judged in variants.judged]
    assert keys == [RAW, WHOLE, *left_out]
    shares = variants.judged[2]
    assert not shares.is_candidate
    assert (shares.alone.columns, shares.without_it.columns) == ((2, 3), (0, 1, 4, 5))
    assert len(variants.raw.columns) == 431


def test_candidate_is_added_to_the_program_alone() -> None:
    days = operation("copy", "days", ["D1", "D2"])
    variants = plan_variants(PROGRAM, [candidate(PAIRS), candidate(days)], ["days", "counts"])
    found, counts = variants.judged
    assert found.is_candidate
    assert found.with_it.columns == (0, 1, 2, 3, 4, 5, 7, 8)
    assert found.without_it is variants.whole
    assert variants.whole.columns == counts.with_it.columns == (0, 1, 2, 3, 4, 5)
    assert counts.without_it.columns == (0, 2, 3, 4, 5)
    assert variants.everything is not None
    assert variants.everything.key == EVERYTHING
    assert variants.everything.columns == tuple(range(9))


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (operation("copy", "amount", ["C2"]), "--add candidate.toml: the group amount is already"),
        (operation("copy", "more", ["C2", "C1"]), "the feature C1 is already there; give it"),
    ],
)
def test_candidate_that_is_there_already_is_refused(added: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        plan_variants(PROGRAM, [candidate(added)])


def test_two_candidates_cannot_share_a_group() -> None:
    with pytest.raises(ProgramError, match=r"--add small/1: the group pairs is already there"):
        plan_variants(PROGRAM, [candidate(PAIRS), ChosenProgram(make_program(PAIRS))])


def test_unknown_group_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no group 'x'; the groups are amount, counts, .*pairs"):
        plan_variants(PROGRAM, [candidate(PAIRS)], ["x"])


def test_only_group_of_a_program_cannot_be_left_out_but_candidates_can_be_judged() -> None:
    with pytest.raises(UsageError, match="has only the group amount"):
        plan_variants(make_program(AMOUNT))
    (judged,) = plan_variants(make_program(AMOUNT), [candidate(COUNTS)]).judged
    assert judged.group == "counts"


def test_digest_is_of_what_a_model_sees() -> None:
    def digest(*operations: str) -> str:
        return plan_variants(make_program(*operations)).whole.digest

    renamed = SHARES.replace('"shares"', '"other"') + 'names = ["a", "b"]\n'
    base = digest(AMOUNT, SHARES)
    assert digest(AMOUNT, renamed) == base
    others = {
        digest(SHARES, AMOUNT),
        digest(AMOUNT, SHARES.replace("card1", "card2")),
        digest(AMOUNT, SHARES, COUNTS),
    }
    assert len(others | {base}) == 4
