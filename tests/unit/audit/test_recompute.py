"""Scores computed again: what is found, and what is not judged."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.audit.recompute.recomputer import NO_INPUT, REFUSED, UNDECODABLE
from stream_scorer.audit.recompute.stated import StatedScores
from stream_scorer.audit.records.columns import Coordinates, OutcomeKind
from stream_scorer.audit.records.results import (
    is_chosen,
)
from stream_scorer.audit.state_file import dump_state, parse_state
from stream_scorer.audit.verdict import Fault
from stream_scorer.kafka.spans import Span
from stream_scorer.model.by_version import BundlesByVersion
from stream_scorer.model.store.memory_store import MemoryStore
from tests.support.audit.audit_kit import MemoryTopics, faults, judge, new_auditor
from tests.support.audit.forged_topics import PARTITIONS, REVIEW, VERSION, Topics, edit_score
from tests.support.audit.recompute_kit import (
    Fixed,
    counting,
    fields,
    flagged_row,
    found,
    rescore,
    source_of,
    topics,
)
from tests.support.factories import make_bundle, publish
from tests.support.scoring_kit import raising

# --- differences


@pytest.mark.parametrize("stripe", [1, 3, 8, 1000])
def test_every_score_of_a_pipeline_is_reproduced(stripe: int) -> None:
    of = topics()
    verdict = of.judge(stripe)
    assert faults(verdict) == {}
    assert verdict.recomputed == verdict.scores > 20
    assert (verdict.not_recomputed, verdict.unjudged) == (0, {})


def test_score_with_one_other_bit_is_found_with_both_values() -> None:
    of = topics()
    score = fields(of.scores(1)[2])["score"]
    higher = math.nextafter(score, 2.0)
    of.scores(1)[2] = edit_score(of.scores(1)[2], score=higher)
    verdict = of.judge()
    assert faults(verdict) == {Fault.NOT_REPRODUCED: 1}
    (offender,) = found(verdict)
    assert offender.source == Coordinates(1, source_of(of.scores(1)[2]))
    assert offender.outcome == Coordinates(1, 2)
    assert offender.detail == f"score {higher!r}, recomputed {score!r}"
    assert offender.as_json()["detail"] == offender.detail


def test_forged_decision_is_found_though_it_follows_from_its_forged_thresholds() -> None:
    of = topics()
    row = flagged_row(of)
    changes = {"review_threshold": 1.0, "block_threshold": 1.0, "decision": "APPROVE",
               "is_flagged": False, "reasons": [], "context": None}  # fmt: skip
    decision = fields(of.scores(0)[row])["decision"]
    of.scores(0)[row] = edit_score(of.scores(0)[row], **changes)
    verdict = of.judge()
    (offender,) = found(verdict)
    assert offender.detail == (
        f"review threshold 1.0, recomputed {REVIEW!r}; block threshold 1.0, recomputed 0.9; "
        f"decision APPROVE, recomputed {decision}; other reasons"
    )
    assert verdict.faults[Fault.NOT_REPRODUCED] == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda reasons: reasons[:-1],
        lambda reasons: reasons[::-1],
        lambda reasons: [{**reasons[0], "value": "another"}, *reasons[1:]],
        lambda reasons: [{**reasons[0], "value": None}, *reasons[1:]],
        lambda reasons: [{**reasons[0], "feature": "C2"}, *reasons[1:]],
        lambda reasons: [
            {**reasons[0], "contribution": math.nextafter(reasons[0]["contribution"], 9)},
            *reasons[1:],
        ],
    ],
)
def test_forged_reasons_are_found(change: Any) -> None:
    of = topics()
    row = flagged_row(of)
    reasons = fields(of.scores(0)[row])["reasons"]
    assert len(reasons) > 1
    of.scores(0)[row] = edit_score(of.scores(0)[row], reasons=change(reasons))
    verdict = of.judge()
    assert [offender.detail for offender in found(verdict)] == ["other reasons"]


def test_score_that_cannot_be_computed_today_is_not_reproduced() -> None:
    of = topics()
    amount = 7.0  # of one input in each partition
    bundle = raising(make_bundle(VERSION, review=REVIEW), amount)
    of.bundles = Fixed({VERSION: bundle})
    verdict = of.judge()
    assert verdict.recomputed == verdict.scores
    details = [offender.detail for offender in found(verdict)]
    assert details == ["recomputing fails: ZeroDivisionError: marked amount"] * PARTITIONS


def test_both_scores_of_an_input_are_compared() -> None:
    of = topics()
    of.scores(0).insert(1, edit_score(of.scores(0)[0], score=0.123))
    verdict = of.judge()
    assert verdict.recomputed == verdict.scores
    assert faults(verdict)[Fault.DUPLICATE] == faults(verdict)[Fault.NOT_REPRODUCED] == 1
    assert found(verdict)[0].outcome == Coordinates(0, 1)


def test_score_in_another_partition_is_compared() -> None:
    of = topics()
    moved = edit_score(of.scores(1).pop(3), score=0.123)
    of.scores(0).append(moved)
    verdict = of.judge()
    (offender,) = found(verdict)
    assert offender.source == Coordinates(1, source_of(moved))
    assert offender.outcome == Coordinates(0, len(of.scores(0)) - 1)


def test_many_differences_are_counted_and_a_few_are_listed() -> None:
    of = topics(bundles=Fixed({VERSION: make_bundle("v9", seed=2, review=REVIEW)}))
    verdict = of.judge()
    assert verdict.faults[Fault.NOT_REPRODUCED] > 20
    assert len(verdict.offenders) == 20


# --- versions


def test_each_score_is_recomputed_with_the_version_that_it_names() -> None:
    of = topics()
    other = make_bundle("v4", seed=2, review=REVIEW)
    rows = rescore(of, other, from_offset=20)
    assert rows > 5
    of.bundles = Fixed({VERSION: make_bundle(VERSION, review=REVIEW), "v4": other})
    verdict = of.judge()
    assert faults(verdict) == {}
    assert verdict.recomputed == verdict.scores
    assert verdict.versions["v4"] == rows
    of.bundles = Fixed({VERSION: make_bundle(VERSION, review=REVIEW), "v4": make_bundle("v4")})
    assert of.judge().faults[Fault.NOT_REPRODUCED] > 0  # the wrong model for v4


def test_scores_of_a_version_that_is_not_in_the_store_are_not_judged() -> None:
    of = topics()
    rows = rescore(of, make_bundle("v8"), from_offset=20)
    verdict = of.judge()
    assert faults(verdict) == {}
    assert verdict.recomputed == verdict.scores - rows
    assert verdict.unjudged == {"version v8 is not in the store memory://": rows}
    assert verdict.not_recomputed == rows


def test_scores_of_a_rejected_version_are_recomputed() -> None:
    store = MemoryStore()
    for _ in range(3):
        publish(store, review=REVIEW)
    store.reject(VERSION, {"reason": "a guard tripped"})
    verdict = topics(bundles=BundlesByVersion(store)).judge()
    assert faults(verdict) == {}
    assert verdict.recomputed == verdict.scores


def test_scores_of_a_damaged_version_are_not_judged() -> None:
    store = MemoryStore()
    for _ in range(3):
        publish(store, review=REVIEW)
    store.objects._contents[f"models/{VERSION}/model.pkl"] = b"x" * 400
    verdict = topics(bundles=BundlesByVersion(store)).judge()
    assert (verdict.recomputed, verdict.not_recomputed) == (0, verdict.scores)
    ((reason, number),) = verdict.unjudged.items()
    assert reason.startswith(f"version {VERSION} is refused: model.pkl has sha256")
    assert number == verdict.scores


# --- inputs that cannot be read again


def test_scores_of_removed_inputs_are_not_judged() -> None:
    of = topics()
    of.removed = {0: 10}
    gone = sum(source_of(sent) < 10 for sent in of.scores(0))
    assert gone > 3
    verdict = of.judge(stripe=8)
    assert faults(verdict) == {}
    assert verdict.unjudged == {NO_INPUT: gone}
    assert verdict.recomputed == verdict.scores - gone


def test_score_of_an_input_that_cannot_be_decoded_is_not_judged() -> None:
    of = topics(sample=0)
    offset = source_of(of.scores(0)[5])
    of.given[0][offset] = replace(of.given[0][offset], value=b'{"TransactionID": "x"}')
    verdict = of.judge()
    assert verdict.unjudged == {UNDECODABLE: 1}
    assert verdict.recomputed == verdict.scores - 1


def test_score_of_an_input_with_a_dead_letter_too_is_not_judged() -> None:
    of = topics()
    sent, offset = of.scores(0)[5], source_of(of.scores(0)[5])
    dead = replace(of.dead_letters(0)[0], key=sent.key, value=of.given[0][offset].value)
    of.dead_letters(0).append(dead.with_header("__connect.errors.offset", str(offset).encode()))
    verdict = of.judge()
    assert verdict.unjudged == {REFUSED: 1}
    assert Fault.DUPLICATE in faults(verdict)


def test_score_of_an_input_that_never_existed_is_no_good() -> None:
    of = topics()
    source = {**fields(of.scores(0)[0])["source"], "offset": 3}
    of.scores(0).append(edit_score(of.scores(0)[0], source=source))
    verdict = of.judge()
    assert verdict.unjudged == {NO_INPUT: 1}
    assert Fault.ORPHAN in faults(verdict)


def test_score_that_came_after_its_stripe_is_not_judged() -> None:
    of = topics()
    of.scores(0).append(of.scores(0).pop(0))
    verdict = of.judge(stripe=4)
    assert verdict.unjudged == {"the score came after its inputs had been recomputed": 1}
    assert verdict.recomputed == verdict.scores - 1
    assert set(faults(verdict)) == {Fault.OUT_OF_ORDER}


def test_score_that_was_read_without_its_result_is_not_judged() -> None:
    auditor = new_auditor()
    auditor.state.stated = StatedScores(1)
    of = MemoryTopics().with_inputs(range(5)).write([(0, row) for row in range(5)])
    verdict = judge(of.write([(0, 4)], OutcomeKind.DEAD_LETTER), auditor=auditor)
    assert verdict.unjudged == {"the score was read by an earlier run without --recompute": 5}


def test_scores_of_inputs_before_the_range_are_not_counted_as_removed() -> None:
    of = MemoryTopics({0: Span(2, 10)}).with_inputs(range(2, 8))
    of.write([(0, row) for row in range(8)])
    for lows, number in ((None, 2), ({0: 4}, 0)):
        auditor = new_auditor()
        auditor.state.stated = StatedScores(1)
        verdict = judge(of, auditor=auditor, lows=lows)
        assert verdict.unjudged.get(NO_INPUT, 0) == number


def test_reasons_without_end_do_not_fill_the_memory() -> None:
    of = topics()
    for number in range(200):
        of.state.leave_unjudged({f"version v{number} is not there": 2})
    assert len(of.state.unjudged) == 51
    assert of.state.unjudged["other reasons"] == 300
    assert of.state.tally.counts["not_recomputed"] == 400


def test_unjudged_scores_and_details_are_kept_in_the_state_file() -> None:
    of = topics(removed={0: 10})
    of.scores(1)[2] = edit_score(of.scores(1)[2], score=0.123)
    verdict = of.judge(stripe=8)
    again = parse_state(dump_state(of.state), 20)
    assert again.unjudged == of.state.unjudged == verdict.unjudged
    assert again.tally.offenders() == verdict.offenders
    assert found(verdict)[0].detail
    again.end_run()
    assert not again.unjudged


def test_held_outcomes_keep_what_they_state() -> None:
    of = topics()
    (outcomes, _), *_ = of_outcomes(of)
    state = of.state
    state.held = [outcomes]
    again = parse_state(dump_state(state), 20).held[0]
    assert again.results is not None
    assert outcomes.results is not None
    for one, other in zip(again.results, outcomes.results, strict=True):
        assert (one == other).all()
    plain = replace(outcomes, results=None)
    state.held = [plain]
    assert parse_state(dump_state(state), 20).held[0].results is None


def of_outcomes(of: Topics) -> Any:
    of.judge()
    return list(of.outcomes(OutcomeKind.SCORE, of.ends()[OutcomeKind.SCORE], lambda *_: None))


# --- which scores are chosen


def test_chosen_inputs_are_the_same_in_each_audit_and_one_in_n() -> None:
    offsets = np.arange(200_000, dtype=np.int64)
    for one_in in (2, 10, 100):
        for partition in (0, 7):
            chosen = is_chosen(partition, offsets, one_in)
            assert np.count_nonzero(chosen) == pytest.approx(len(offsets) / one_in, rel=0.05)
            assert (chosen == is_chosen(np.full(len(offsets), partition), offsets, one_in)).all()
    assert is_chosen(3, offsets, 1).all()
    both = is_chosen(0, offsets, 10) & is_chosen(1, offsets, 10)
    assert np.count_nonzero(both) == pytest.approx(len(offsets) / 100, rel=0.1)
    evens = is_chosen(0, offsets[::2], 100)  # every second offset may be a txn marker
    assert np.count_nonzero(evens) == pytest.approx(len(offsets) / 200, rel=0.1)


@pytest.mark.parametrize("stripe", [4, 1000])
def test_one_score_in_n_is_recomputed(stripe: int) -> None:
    of = topics(recompute=3)
    sources = [(p, source_of(sent)) for p in range(PARTITIONS) for sent in of.scores(p)]
    expected = sum(bool(is_chosen(p, np.array([o]), 3)[0]) for p, o in sources)
    verdict = of.judge(stripe)
    assert 0 < verdict.recomputed == expected < verdict.scores


def test_only_inputs_of_chosen_scores_are_decoded() -> None:
    of = counting(topics(recompute=3))
    verdict = of.judge()
    assert of.decoded == verdict.recomputed < verdict.scores
