"""The seed: all card histories after the last training row, as scorers read it."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import StoreError, UsageError
from stream_scorer.features.history.codec import decode_seed
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects
from tests.support.training.history_kit import joined_rows, make_spec, read_rows, same_bits
from trainer.data.ingest import TrainingRows
from trainer.history import seed as seed_module
from trainer.history.rows import compute_history, follow
from trainer.history.seed import make_seed
from trainer.publishing.publish import publish_seed

SPEC = make_spec()
WIDTHS = {space.name: space.width for space in SPEC.spaces}
DAY = 86_400


def nothing(_: int) -> None:
    pass


def test_histories_go_on_from_a_seed_as_from_the_rows_themselves() -> None:
    batch, labels = joined_rows().batch, joined_rows().labels
    first = batch.take(slice(0, 2000))
    rows = TrainingRows([first], labels[:2000], first.times, {})
    seed = compute_history(rows, SPEC, nothing, has_seed=True).seed
    assert seed is not None
    assert seed.facts.as_of == int(first.times[-1])
    found = decode_seed(seed.content, "a seed", WIDTHS)
    assert found.header.spec == SPEC.fingerprint
    assert found.header.as_of == seed.facts.as_of
    history = PartitionHistory.restore(SPEC, found.records, 10**6, as_of=seed.facts.as_of)
    rest = batch.take(slice(2000, None))
    whole = compute_history(read_rows(), SPEC, nothing).columns.values
    assert same_bits(follow(history, rest, nothing), whole[2000:])


def test_facts_name_the_content_and_equal_rows_give_equal_seeds() -> None:
    one, other = (compute_history(read_rows(), SPEC, nothing, has_seed=True) for _ in range(2))
    assert one.seed is not None
    assert one.seed == other.seed
    facts = one.seed.facts
    assert facts.sha256 == hashlib.sha256(one.seed.content).hexdigest()
    assert facts.bytes == len(one.seed.content)
    assert facts.keys == one.facts["keys"]
    assert sum(facts.keys.values()) > 1000


def test_seed_is_written_under_the_name_that_the_metadata_gives() -> None:
    seed = compute_history(read_rows(), SPEC, nothing, has_seed=True).seed
    assert seed is not None
    store = HistoryStore(MemoryObjects())
    publish_seed(store, seed)
    publish_seed(store, seed)  # a second version with the same rows
    found = store.read_seed(SPEC.fingerprint, seed.facts.sha256, WIDTHS)
    assert {name: len(words) for name, words in found.records.spaces.items()} == seed.facts.keys


def test_there_is_no_seed_unless_it_is_wanted() -> None:
    assert compute_history(read_rows(), SPEC, nothing).seed is None


def test_times_that_histories_do_not_take_are_not_the_end_of_one() -> None:
    history = PartitionHistory(SPEC)
    seed = make_seed(history, np.array([-5, 7, 9, 2**32], np.int64))
    assert seed is not None
    assert seed.facts.as_of == 9
    assert make_seed(history, np.array([-5, 2**32], np.int64)) is None
    assert make_seed(history, np.empty(0, np.int64)) is None


def test_seed_that_is_too_large_is_an_error_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def too_large(*_: Any) -> bytes:
        raise StoreError("the seed has 3 GiB")

    monkeypatch.setattr(seed_module, "encode_seed", too_large)
    with pytest.raises(
        UsageError, match=r"the seed has 3 GiB\. With --no-history-seed the version"
    ):
        make_seed(PartitionHistory(SPEC), np.arange(3, dtype=np.int64))


@pytest.mark.parametrize(("gap_days", "is_warned"), [(30, False), (46, True)])
def test_last_row_long_after_the_others_is_warned_about(
    gap_days: int, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    times = np.array([1, 2, 3, 3 + gap_days * DAY, 3 + gap_days * DAY], np.int64)
    with caplog.at_level(logging.WARNING):
        make_seed(PartitionHistory(SPEC), times)
    assert ("if the time is wrong, remove the row" in caplog.text) is is_warned
