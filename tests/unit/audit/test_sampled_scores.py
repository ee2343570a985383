"""Scores of the random lane, as the scorer writes them, pass the audit's checks."""

from __future__ import annotations

import numpy as np

from schemas.resolver import LocalSchemas
from schemas.scores.sampling import MAX_SHARE
from stream_scorer.audit.records.score_reader import ScoreReader
from tests.support.factories import make_bundle
from tests.support.scoring_kit import (
    INPUT,
    NOW_MS,
    make_pipeline,
    make_polled,
    make_values,
    read_score,
)


def test_sampled_scores_are_consistent_and_another_topic_would_have_other_samples() -> None:
    polled = make_polled(make_values(1500))
    outcome = make_pipeline(sample_share=MAX_SHARE).process(polled, make_bundle(), NOW_MS)
    values = [record.value for record in outcome.records]
    assert sum(read_score(value)["is_sampled"] for value in values) == outcome.sampled > 3
    found = ScoreReader(LocalSchemas("fraud_score"), INPUT).sources(values)
    assert found.is_readable.all()
    assert not found.marks.any()
    assert np.array_equal(found.offsets, polled.offsets)
