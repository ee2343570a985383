"""Which features each variant has, and that leaving out columns is leaving out operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import UsageError
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.program import ProgramError, parse_program
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
from tests.support.training.history_kit import (
    CARD,
    CLIENT,
    HEAD,
    joined_rows,
    make_history_program,
    same_bits,
)
from trainer.ablation.candidates import join_candidates
from trainer.ablation.variants import EVERYTHING, RAW, WHOLE, Variant, plan_variants
from trainer.history.rows import follow
from trainer.programs.chosen import ChosenProgram

BUILT_IN = make_built_in()
HISTORY = make_history_program()


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


def test_history_is_judged_by_groups_by_key_spaces_and_as_a_whole() -> None:
    variants = plan_variants(HISTORY)
    assert [judged.group for judged in variants.judged] == [
        "amount", "texts", "times", "amounts", "windows", "means", "sets", "mail",
        "history:client", "history:mail",
    ]  # fmt: skip
    names = HISTORY.names

    def kept(variant: Variant | None) -> list[str]:
        assert variant is not None
        return [names[i] for i in variant.columns]

    stateless = [name for name in names if not name.startswith(("client_", "mail_"))]
    assert HISTORY.history is not None
    client, mail = ([n for n, *_ in space.named] for space in HISTORY.history.spaces)
    assert kept(variants.stateless) == stateless
    assert kept(variants.alone["client"]) == [*stateless, *client]
    assert kept(variants.alone["mail"]) == [*stateless, *mail]
    by_group = {judged.group: judged for judged in variants.judged}
    assert kept(by_group["history:client"].without_it) == [*stateless, *mail]
    assert kept(by_group["history:client"].alone) == client
    assert kept(by_group["windows"].without_it) == [
        n
        for n in names
        if n not in ("client_count_1h", "client_count_7d", "client_amount_decayed_1d")
    ]
    # The same features are fitted once, whatever they are called.
    digests = {variant.digest for variant in variants.distinct()}
    assert len(digests) == len(variants.distinct()) - 3
    assert by_group["mail"].without_it.digest == by_group["history:mail"].without_it.digest
    assert variants.alone["client"].digest == by_group["history:mail"].without_it.digest


def test_leaving_out_history_columns_is_leaving_them_out_of_the_spec() -> None:
    batch = joined_rows(600).batch
    assert HISTORY.history is not None
    out = follow(PartitionHistory(HISTORY.history), batch, lambda _: None)
    names = list(HISTORY.history.names)
    for judged in plan_variants(HISTORY).judged:
        spec = judged.without_it.history
        if spec is not None:
            columns = [names.index(name) for name in spec.names]
            alone = follow(PartitionHistory(spec), batch, lambda _: None)
            assert same_bits(alone, np.ascontiguousarray(out[:, columns]))
            assert [
                HISTORY.names[i]
                for i in judged.without_it.columns
                if i >= len(HISTORY.names) - len(names)
            ] == list(spec.names)


def test_groups_name_key_spaces_too() -> None:
    (judged,) = plan_variants(HISTORY, groups=["history:mail"]).judged
    assert judged.group == "history:mail"
    assert not judged.is_candidate
    with pytest.raises(UsageError, match=r"no group 'mails'; the groups are .*history:client"):
        plan_variants(HISTORY, groups=["mails"])
    assert plan_variants(PROGRAM).stateless is None
    one_space = plan_variants(make_history_program(CARD))
    assert one_space.alone == {}
    assert one_space.stateless is not None


def test_program_of_one_group_is_judged_by_its_key_spaces() -> None:
    one = CARD.replace('group = "card"', 'group = "amount"')
    program = parse_program(f'format = 1\nname = "a/1"\ntitle = ""\n{AMOUNT}{one}')
    assert [judged.group for judged in plan_variants(program).judged] == ["history:card"]


def test_candidates_add_key_spaces_and_features_to_key_spaces() -> None:
    features = '[[history.features]]\nkind = "amount_z"\ngroup = "deviation"\n'
    client = CLIENT[: CLIENT.index("[[history.features]]")] + features
    more = parse_program(HEAD + COUNTS.replace("counts", "new").replace("C1", "V7") + client + CARD)
    joined = join_candidates(HISTORY, [ChosenProgram(more, "more.toml")])
    assert joined.history is not None
    assert [space.name for space in joined.history.spaces] == ["client", "mail", "card"]
    assert joined.names[-5:] == (
        "client_amount_z", "mail_count", "mail_amount_1d", "card_count_1h",
        "card_gap_before_seconds",
    )  # fmt: skip
    variants = plan_variants(HISTORY, [ChosenProgram(more, "more.toml")], ["deviation", "card"])
    deviation, card = variants.judged
    assert deviation.is_candidate
    assert [joined.names[i] for i in deviation.alone.columns] == ["client_amount_z"]
    assert set(deviation.with_it.columns) - set(variants.whole.columns) == set(
        deviation.alone.columns
    )
    assert len(card.alone.columns) == 2
    assert [joined.names[i] for i in variants.whole.columns] == list(HISTORY.names)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ttl_days = 180", "ttl_days = 90", "the key space client is already there with another"),
        ('group = "deviation"', 'group = "times"', "the group times is already there"),
        ("amount_z", "count", "the feature client_count is already there"),
    ],
)
def test_candidate_of_another_key_space_of_that_name_is_refused(
    old: str, new: str, message: str
) -> None:
    features = '[[history.features]]\nkind = "amount_z"\ngroup = "deviation"\n'
    client = (CLIENT[: CLIENT.index("[[history.features]]")] + features).replace(old, new)
    more = parse_program(HEAD + COUNTS.replace("counts", "new").replace("C1", "V7") + client)
    with pytest.raises(ProgramError, match=message):
        join_candidates(HISTORY, [ChosenProgram(more, "more.toml")])


def test_more_key_spaces_than_a_program_can_have_are_refused() -> None:
    spaces = [CARD.replace('"card"', f'"card{i}"') for i in range(4)]
    more = parse_program(HEAD + COUNTS.replace("C1", "V7") + "".join(spaces[:3]))
    with pytest.raises(ProgramError, match="there are 5, and a program has at most 4"):
        join_candidates(HISTORY, [ChosenProgram(more, "more.toml")])


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
