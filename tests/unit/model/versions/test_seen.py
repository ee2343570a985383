"""A promotion happens only over the pointer that the user saw, and refusals say what they need."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.model.store.promotions import Override
from stream_scorer.model.versions.promoting import (
    NeedsForce,
    NothingToRollBackTo,
    PointerMoved,
    Seen,
    promote_version,
    roll_back,
)
from tests.support.factories import publish_only
from tests.support.stores import store_settings

PASSED: Mapping[str, object] = {"gate": {"passed": True, "refusals": []}}
REFUSED: Mapping[str, object] = {"gate": {"passed": False, "refusals": ["ROC AUC is below 0.6"]}}
SETTINGS = store_settings(model_store_uri="file:///nowhere")
ANA = Override("ana", "the champion is too old")


def filled(*gates: Mapping[str, object]) -> MemoryStore:
    store = MemoryStore()
    for facts in gates:
        publish_only(store, facts)
    return store


def test_promotion_over_another_pointer_than_the_one_seen_changes_nothing() -> None:
    store = filled(PASSED, PASSED)
    promote_version(store, SETTINGS, "v1", seen=Seen(None))
    with pytest.raises(PointerMoved, match="v1 is promoted now, and no version was when you"):
        promote_version(store, SETTINGS, "v2", seen=Seen(None))
    assert [promotion.version for promotion in store.history()] == ["v1"]
    promote_version(store, SETTINGS, "v2", seen=Seen("v1"))
    with pytest.raises(PointerMoved, match="v2 is promoted now, and v1 was when you decided"):
        roll_back(store, SETTINGS, seen=Seen("v1"))
    assert roll_back(store, SETTINGS, seen=Seen("v2")) == ("v2", "v1")


def test_version_that_needs_force_says_why() -> None:
    store = filled(REFUSED, PASSED)
    with pytest.raises(NeedsForce) as refused:
        promote_version(store, SETTINGS, "v1")
    assert (refused.value.is_rejected, refused.value.reasons) == (False, ("ROC AUC is below 0.6",))
    store.reject("v2", {"reason": "scores are inverted"})
    with pytest.raises(NeedsForce) as rejected:
        promote_version(store, SETTINGS, "v2")
    assert rejected.value.is_rejected
    assert rejected.value.reasons == ("scores are inverted",)


def test_rollback_to_a_forced_version_needs_force_and_to_nothing_is_refused() -> None:
    store = filled(REFUSED, PASSED)
    with pytest.raises(NothingToRollBackTo, match="no version is promoted"):
        roll_back(store, SETTINGS)
    promote_version(store, SETTINGS, "v1", override=ANA)
    with pytest.raises(NothingToRollBackTo, match="every version promoted before it"):
        roll_back(store, SETTINGS)
    promote_version(store, SETTINGS, "v2")
    with pytest.raises(NeedsForce, match="v1 was refused by the gate"):
        roll_back(store, SETTINGS)
    assert roll_back(store, SETTINGS, ANA) == ("v2", "v1")
