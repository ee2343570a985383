"""The random lane in the pipeline: what it adds to scores, and that it changes nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas.scores.sampling import MAX_SHARE, SHARE_HEADER, choose
from stream_scorer.stream.outcome import Outcome
from stream_scorer.stream.ports import Outgoing
from tests.support.factories import make_bundle
from tests.support.scoring_kit import (
    NOW_MS,
    OUTPUT,
    make_pipeline,
    make_polled,
    make_values,
    read_score,
)

POISON: list[bytes | None] = [None, b"", b"hello", b"{"]


def text_headers(record: Outgoing) -> dict[str, str]:
    return {name: v.decode() if isinstance(v, bytes) else str(v) for name, v in record.headers}


def sampled_rows(values: list[bytes | None], share: float) -> tuple[list[dict[str, Any]], Outcome]:
    found = make_pipeline(sample_share=share).process(make_polled(values), make_bundle(), NOW_MS)
    return [read_score(r.value) for r in found.records if r.topic == OUTPUT], found


def test_sampled_rows_are_unflagged_and_differ_in_nothing_but_context_and_mark() -> None:
    values = [*make_values(1500), *POISON]
    without, _ = sampled_rows(values, 0.0)
    scores, found = sampled_rows(values, MAX_SHARE)
    rows = [i for i, s in enumerate(scores) if s["is_sampled"]]
    assert found.sampled == len(rows) > 3
    polled = make_polled(values)
    chosen = choose(polled.topic, polled.partitions, polled.offsets, MAX_SHARE)[: len(scores)]
    assert rows == [i for i in np.flatnonzero(chosen).tolist() if not without[i]["is_flagged"]]
    for i, score_ in enumerate(scores):
        if i in rows:
            assert score_["context"]["TransactionAmt"] is not None
            assert score_["decision"] == "APPROVE"
            assert score_["reasons"] == []
            score_ |= {"is_sampled": False, "context": None}
        assert score_ == without[i]


def test_sampled_scores_state_their_share_and_others_do_not() -> None:
    _, found = sampled_rows(make_values(1500), 0.005)
    stated = [text_headers(r).get(SHARE_HEADER) for r in found.records]
    is_sampled = [read_score(r.value)["is_sampled"] for r in found.records]
    assert stated == ["0.005" if sampled else None for sampled in is_sampled]
    assert "model-version" in text_headers(found.records[is_sampled.index(True)])


def test_share_of_zero_gives_the_same_records_as_no_lane() -> None:
    values = make_values(300)
    found = sampled_rows(values, 0.0)[1]
    assert (
        found.records == make_pipeline().process(make_polled(values), make_bundle(), NOW_MS).records
    )
    assert found.sampled == 0
    assert all((r.value or b"")[-1:] == b"\x00" for r in found.records)
