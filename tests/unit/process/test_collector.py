"""What stays for as long as the process runs is exempt from garbage collection."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.forest.predictor import ForestPredictor
from stream_scorer.process.collector import spare_what_stays
from tests.support.factories import make_files


@pytest.fixture(autouse=True)
def _all_is_collected_again() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_a_full_collection_looks_at_new_objects_only() -> None:
    stays: list[object] = [{}]
    spare_what_stays()
    comes: list[object] = [{}]
    seen = {id(found) for found in gc.get_objects()}
    assert id(stays) not in seen
    assert id(comes) in seen


def test_a_model_that_is_replaced_is_freed_although_it_was_exempt() -> None:
    bundle = load_bundle(make_files(), "v1")
    assert isinstance(bundle.predictor, ForestPredictor)
    features, predictor = weakref.ref(bundle.features), weakref.ref(bundle.predictor)
    spare_what_stays()
    del bundle
    assert features() is None
    assert predictor() is None
