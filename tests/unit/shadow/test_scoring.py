"""The challenger's scores are those of the one scoring function, whatever is reused for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.model.bundle import Bundle, build_files, load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.shadow import scoring
from stream_scorer.shadow.scoring import (
    CannotDecode,
    ShadowBatch,
    ShadowScores,
    has_history_for,
    history_of,
    score_part,
    select,
)
from tests.support.factories import make_batch, make_bundle, make_draft
from tests.support.scoring_kit import NOW_MS, make_pipeline, make_polled, make_values
from tests.support.training.history_kit import make_history_files

ROWS = 60


def job_of(champion: Bundle) -> ShadowBatch:
    """A batch that the champion has scored."""
    pipeline, polled = make_pipeline(), make_polled(make_values(ROWS))
    pipeline.keep_basis_if(lambda: True)
    basis = pipeline.process(polled, champion, NOW_MS).basis
    assert basis is not None
    return ShadowBatch(polled, basis)


def score_all(job: ShadowBatch, challenger: Bundle, share: float = 1.0) -> list[ShadowScores]:
    decoder, polled = TransactionDecoder(LocalSchemas()), job.polled
    return [score_part(polled, part, challenger, decoder) for part in select(job, share)]


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_chosen_rows_have_the_scores_of_the_whole_batch(share: float) -> None:
    champion = make_bundle()
    model = make_draft()
    files, rest = build_files(replace(model, thresholds=replace(model.thresholds, review=0.1)))
    challenger = load_bundle({"model.pkl": files, **rest("v2")}, "v2")
    job, expected = job_of(champion), score(make_batch(ROWS, 5), challenger)
    (found,) = score_all(job, challenger, share)
    assert found.scores.scores.tolist() == expected.scores[found.where].tolist()
    assert found.scores.decisions.tolist() == expected.decisions[found.where].tolist()
    assert (len(found.where) == ROWS) == (share == 1)


def test_other_features_are_computed_from_the_same_columns() -> None:
    challenger = make_bundle("v2", seed=2)  # the same program, other tables
    (found,) = score_all(job_of(make_bundle()), challenger)
    expected = score(make_batch(ROWS, 5), challenger)
    assert found.scores.raw.tolist() == expected.raw.tolist()
    assert found.scores.reasons == expected.reasons


def test_columns_that_the_champion_does_not_read_are_decoded_again() -> None:
    challenger, champion = make_bundle("v2", seed=2), load_bundle(make_history_files(), "v1")
    assert champion.features.layout != challenger.features.layout
    (found,) = score_all(job_of(champion), challenger)
    expected = score(make_batch(ROWS, 5), challenger)
    assert found.scores.raw.tolist() == expected.raw.tolist()


def test_records_that_cannot_be_decoded_again_fail_as_a_batch() -> None:
    job = job_of(load_bundle(make_history_files(), "v1"))
    (part,) = job.basis.parts
    for batch, reason in (
        (replace(part.batch, text=part.batch.text * 0), "60 of 60 records"),
        (replace(part.batch, records=None), "was not decoded from records"),
    ):
        broken = replace(job, basis=job.basis._replace(parts=[part._replace(batch=batch)]))
        with pytest.raises(CannotDecode, match=reason):
            score_all(broken, make_bundle("v2", seed=2))


def test_history_is_there_for_versions_that_read_the_same_or_none() -> None:
    plain, with_history = make_bundle(), load_bundle(make_history_files(), "v1")
    assert has_history_for(history_of(plain), plain)
    assert has_history_for(history_of(plain), with_history)
    assert has_history_for(history_of(with_history), with_history)
    assert not has_history_for(history_of(with_history), plain)


def test_batch_says_how_much_memory_it_holds() -> None:
    job = job_of(make_bundle())
    part = job.basis.parts[0]
    held = part.batch.numbers.nbytes + sum(len(value or b"") for value in make_values(ROWS))
    assert held <= job.nbytes < 2 * held


def test_nothing_is_scored_where_no_row_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(topic: str, partitions: Any, offsets: Any, share: float) -> Any:
        del topic, partitions, share
        return np.zeros(len(offsets), np.bool_)

    monkeypatch.setattr(scoring, "choose", none)
    assert score_all(job_of(make_bundle()), make_bundle("v2", seed=2), 0.1) == []
