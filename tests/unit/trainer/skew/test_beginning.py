"""A comparison begins as the scorers did: with the era's seed, at its offsets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stream_scorer.errors import UsageError
from stream_scorer.model.store.history_era import Era, EraSeed
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects
from tests.support.history.snapshots import ERA
from tests.support.training.history_kit import make_spec, read_rows
from trainer.history.rows import compute_history
from trainer.skew.beginning import beginning_of
from trainer.skew.sides import Start

SPEC = make_spec()


def make_era(**changes: Any) -> Era:
    return replace(ERA, spec=SPEC.fingerprint, number=1, topic="transactions", seed=None, **changes)


def test_without_an_era_all_retained_inputs_count() -> None:
    found = beginning_of(HistoryStore(MemoryObjects()), SPEC, "transactions")
    assert (found.era, found.offsets, found.start) == (None, None, Start())


def test_era_without_a_seed_begins_at_its_offsets() -> None:
    store = HistoryStore(MemoryObjects())
    assert store.create_era(make_era())
    found = beginning_of(store, SPEC, "transactions")
    assert (found.era, found.offsets) == (1, ERA.begin)
    assert found.start == Start()


def test_seed_of_the_era_is_where_both_sides_begin() -> None:
    store = HistoryStore(MemoryObjects())
    seed = compute_history(read_rows(600), SPEC, lambda _: None, has_seed=True).seed
    assert seed is not None
    store.write_seed(seed.content)
    of_seed = EraSeed(seed.facts.sha256, seed.facts.as_of)
    assert store.create_era(replace(make_era(), seed=of_seed))
    found = beginning_of(store, SPEC, "transactions")
    assert found.start.as_of == seed.facts.as_of
    assert found.start.records is not None
    assert len(found.start.records.spaces["client"]) == seed.facts.keys["client"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"topic": "other"}, "is of topic other, and INPUT_TOPIC is transactions; --cold compares"),
        ({"has_base": True}, "begins with snapshots of an earlier era, .*; --cold compares"),
        ({"seed": EraSeed("ab" * 32, 5)}, "there is no history/seeds/abab"),
    ],
)
def test_era_that_cannot_be_used_is_an_error_with_a_way_out(
    changes: dict[str, Any], message: str
) -> None:
    store = HistoryStore(MemoryObjects())
    assert store.create_era(replace(make_era(), **changes))
    with pytest.raises(UsageError, match=message):
        beginning_of(store, SPEC, "transactions")
