"""The pipeline decodes only what the model reads: the same outcomes, whatever the model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from schemas.framing import Headers
from schemas.layout import Layout
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import Decoded, TransactionDecoder
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.model.bundle import Bundle, Draft, Thresholds, build_files, load_bundle
from stream_scorer.stream.outcome import Destinations, Outcome
from stream_scorer.stream.pipeline import Pipeline
from tests.support.factories import make_batch, make_bundle, train_text
from tests.support.features.plain_features import every_operation
from tests.support.scoring_kit import (
    DLQ,
    NOW_MS,
    OUTPUT,
    SINGLE_OBJECT,
    make_pipeline,
    make_polled,
    make_value,
    make_values,
    raising,
)


class CompleteDecoder(TransactionDecoder):
    """Keeps every column, as if the model read all of them."""

    def decode(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers],
        layout: Layout | None = None,
    ) -> Decoded:
        assert layout is not None
        return super().decode(values, headers)


@cache
def narrow_bundle() -> Bundle:
    """A model that reads some 30 columns, and flags half of the rows."""
    batch = make_batch(300, 2)
    program = every_operation().without(["missing"])
    features, matrix = FeatureSet.fit_transform(batch, program)
    text = train_text(matrix, features.names)
    draft = Draft(text, features, Thresholds(0.1, 0.6), batch.take(slice(0, 8)), {})
    model, rest = build_files(draft)
    return load_bundle({"model.pkl": model, **rest("v2")}, "v2")


def process(pipeline: Pipeline, values: list[bytes | None], bundle: Bundle) -> Outcome:
    return pipeline.process(make_polled(values), bundle, NOW_MS)


def complete(values: list[bytes | None], bundle: Bundle) -> Outcome:
    to = Destinations(OUTPUT, DLQ, SINGLE_OBJECT, {})
    return process(Pipeline(CompleteDecoder(LocalSchemas()), to), values, bundle)


def test_outcomes_are_those_of_a_complete_batch() -> None:
    values = [*make_values(80), make_value(V1=float("inf")), b"", None, make_value()[:-3]]
    outcome = process(make_pipeline(), values, narrow_bundle())
    expected = complete(values, narrow_bundle())
    assert outcome.flagged > 10
    assert len(outcome.rejections) == 4
    assert outcome.records == expected.records


def test_batch_that_is_halved_keeps_its_columns() -> None:
    values = [*make_values(20), make_value(99, TransactionAmt=4321.0)]
    bundle = raising(narrow_bundle(), 4321.0)
    outcome = process(make_pipeline(), values, bundle)
    assert [rejection.index for rejection in outcome.rejections] == [20]
    assert outcome.records == complete(values, bundle).records


def test_each_batch_is_decoded_for_the_model_that_scores_it() -> None:
    """A reload between two batches changes which columns are read."""
    pipeline, values = make_pipeline(), make_values(30)
    first = process(pipeline, values, narrow_bundle())
    between = process(pipeline, values, make_bundle())
    again = process(pipeline, values, replace(narrow_bundle(), version="v2"))
    assert between.model_version == "v1"
    assert first.records == again.records != between.records
