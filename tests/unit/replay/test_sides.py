"""Both sides of a replay: a model version, and the published scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.resolver import LocalSchemas
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.kafka.messages import Records
from stream_scorer.model.scoring import Decision, score
from stream_scorer.replay.model_side import Histories, ModelSide
from stream_scorer.replay.published_side import NO_SCORE, PublishedSide
from stream_scorer.state.history_source import NoHistorySource
from stream_scorer.state.inputs import InputRows
from tests.support.audit.forged_topics import (
    PARTITIONS,
    Topics,
    as_records,
    edit_score,
    make_topics,
)
from tests.support.audit.recompute_kit import (
    SPEC,
    CountingHistory,
    fields,
    source_of,
    with_history,
)
from tests.support.factories import make_batch, make_bundle
from tests.support.scoring_kit import INPUT, raising


def input_rows(n: int = 40) -> InputRows:
    return InputRows(0, np.arange(n), make_batch(n), np.ones(n, np.bool_), n)


# --- a model version


def test_model_gives_what_it_gives_in_the_stream() -> None:
    bundle, rows = make_bundle("v3", review=0.3), input_rows()
    side = ModelSide(bundle)
    found, expected = side.score(rows, {}), score(rows.batch, bundle)
    assert found.scores.tobytes() == expected.scores.tobytes()
    assert (found.decisions == expected.decisions).all()
    assert {found.version(row) for row in range(40)} == {"v3"}
    assert found.is_there.all()
    assert not found.unscored
    flagged = next(iter(expected.reasons))
    assert [tuple(one) for one in side.explain(flagged)] == [
        tuple(one) for one in expected.reasons[flagged]
    ]
    approved = expected.decisions.tolist().index(Decision.APPROVE)
    assert all(reason.contribution > 0 for reason in side.explain(approved))


def test_row_that_the_model_cannot_score_is_counted() -> None:
    rows = input_rows()
    amount = float(rows.batch.numbers[7, 0])
    found = ModelSide(raising(make_bundle(), amount)).score(rows, {})
    assert found.unscored == {"the model cannot score it: ZeroDivisionError: marked amount": 1}
    assert np.flatnonzero(~found.is_there).tolist() == [7]
    assert found.version(7) is None


def test_history_is_attached_once_for_both_sides() -> None:
    bundle, source, rows = with_history(make_bundle("v3")), CountingHistory(), input_rows()
    other = replace(with_history(make_bundle("v4", seed=2)), version="v4")
    histories = Histories(source, [bundle, other, make_bundle("v5")])
    attached = histories.attach(rows)
    assert list(attached) == [SPEC]
    assert source.counts == {0: 40}
    found = ModelSide(bundle).score(rows, attached)
    plain = ModelSide(make_bundle("v3")).score(rows, attached)
    assert found.is_there.all()
    assert (found.scores != plain.scores).any()


def test_history_that_is_unknown_is_the_reason_of_every_row() -> None:
    bundle, rows = with_history(make_bundle("v3")), input_rows()
    attached = Histories(NoHistorySource(), [bundle]).attach(rows)
    found = ModelSide(bundle).score(rows, attached)
    assert not found.is_there.any()
    assert found.unscored == {"the history that version v3 reads is not available": 40}


def test_rows_before_and_after_another_history_are_told_apart() -> None:
    bundle, rows = with_history(make_bundle("v3")), input_rows()
    histories = Histories(CountingHistory(changed=[10, 25], unknown_from=25), [bundle])
    parts = list(histories.cut(rows))
    assert [len(part) for part in parts] == [10, 15, 15]
    found = [ModelSide(bundle).score(part, histories.attach(part)) for part in parts]
    assert [int(one.is_there.sum()) for one in found] == [10, 15, 0]


# --- the published scores


def published(of: Topics, page: int) -> PublishedSide:
    def pages(partition: int) -> Iterator[Records]:
        rows = list(enumerate(of.scores(partition)))
        for start in range(0, len(rows), page):
            yield as_records(partition, rows[start : start + page])

    resolver = LocalSchemas("fraud_score")
    return PublishedSide(pages, ScoreReader(resolver, INPUT), resolver)


def read(of: Topics, page: int, batch: int) -> dict[tuple[int, int], tuple[float, str, str | None]]:
    """What is found of every input, dead letters among them."""
    side, found = published(of, page), dict[tuple[int, int], Any]()
    for partition in range(PARTITIONS):
        offsets = np.array(sorted(of.given[partition]))
        for start in range(0, len(offsets), batch):
            part = offsets[start : start + batch]
            scored = side.score(partition, part)
            for row in np.flatnonzero(scored.is_there).tolist():
                decision = Decision(int(scored.decisions[row])).name
                place = partition, int(part[row])
                found[place] = float(scored.scores[row]), decision, scored.version(row)
            assert sum(scored.unscored.values()) == np.count_nonzero(~scored.is_there)
            assert set(scored.unscored) <= {NO_SCORE}
    return found


def expected(of: Topics) -> dict[tuple[int, int], tuple[float, str, str | None]]:
    return {
        (p, source_of(sent)): (fields(sent)["score"], fields(sent)["decision"], "v3")
        for p in range(PARTITIONS)
        for sent in of.scores(p)
    }


@pytest.mark.parametrize("page", [1, 5, 1000])
@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_each_input_gets_its_published_score(page: int, batch: int) -> None:
    of = make_topics()
    assert read(of, page, batch) == expected(of)


def test_stray_record_does_not_hide_the_scores_after_it() -> None:
    of = make_topics()
    good = expected(of)
    source = {**fields(of.scores(0)[0])["source"], "offset": 10**6}
    of.scores(0).insert(0, edit_score(of.scores(0)[0], source=source))
    of.scores(0).insert(3, replace(of.scores(0)[3], value=b"no score"))
    assert read(of, 2, 3) == good


def test_of_two_scores_of_an_input_the_last_one_counts() -> None:
    of = make_topics()
    again = edit_score(of.scores(0)[2], score=0.111)
    of.scores(0).insert(4, again)
    assert read(of, 100, 100)[0, source_of(again)][0] == 0.111


def test_published_reasons_are_those_of_the_record() -> None:
    of = make_topics()
    side = published(of, 1000)
    offsets = np.array(sorted(of.given[0]))
    scored = side.score(0, offsets)
    row = next(r for r in range(len(offsets)) if scored.decisions[r] > 0)
    sent = next(s for s in of.scores(0) if source_of(s) == offsets[row])
    assert [r._asdict() for r in side.explain(row)] == fields(sent)["reasons"]
    approved = next(r for r in range(len(offsets)) if scored.decisions[r] == 0)
    assert side.explain(approved) == []
    assert side.explain(10**6) == ()


def test_only_the_scores_of_some_inputs_are_held() -> None:
    of = make_topics()
    one = of.scores(0)[0]
    source = fields(one)["source"]
    of.scores(0)[:] = [edit_score(one, source={**source, "offset": at}) for at in range(3_000)]
    side = published(of, 100)
    most = 0
    for start in range(0, 3_000, 50):
        scored = side.score(0, np.arange(start, start + 50))
        assert scored.is_there.all()
        most = max(most, sum(len(part.sources) for part in side._held))
    assert 250 <= most <= 400
