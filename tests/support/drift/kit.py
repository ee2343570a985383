"""A bundle whose metadata has the histograms of its own rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from schemas.batch import TransactionBatch
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.scoring import score
from tests.support.factories import make_batch, make_bundle
from trainer.evaluation.reference import reference_facts

WATCHED = ("TransactionAmt", "C1", "D1", "card4", "dist1")


def facts_of(batch: TransactionBatch, ranked: tuple[str, ...] = WATCHED) -> dict[str, Any]:
    """The part of the metadata that the trainer writes."""
    bundle = make_bundle()
    scores = score(batch, bundle).scores
    return {"reference": reference_facts(batch, scores, bundle.features, ranked, "test")}


def bundle_with_reference(
    batch: TransactionBatch | None = None, ranked: tuple[str, ...] = WATCHED, version: str = "v1"
) -> Bundle:
    """The bundle of other tests, with histograms of some rows in its metadata."""
    bundle = make_bundle()
    facts = facts_of(make_batch(2000, 99) if batch is None else batch, ranked)
    return replace(bundle, version=version, metadata={**bundle.metadata, **facts})
