"""What the scorer process reports of its card histories, and when it needs an operator."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.observability.metrics import ScorerMetrics
from stream_scorer.process import card_histories
from stream_scorer.process.card_histories import COLD_DAYS, HistoryThreads, require_history_topics
from stream_scorer.settings import ScorerSettings
from stream_scorer.state.eras import InputFacts, require_spec
from stream_scorer.state.missing import Waiting
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.memory_broker import MemoryBroker, MemoryCluster
from tests.support.factories import make_bundle
from tests.support.scoring_kit import INPUT
from tests.support.state.history_kit import make_era, make_history_bundle
from tests.support.state.world import FakeModels

BUNDLE = make_history_bundle()


def threads(folder: Path, **settings: object) -> HistoryThreads:
    given = {"model_store_uri": folder.as_uri(), "history_cache_dir": folder / "cache", **settings}
    broker = cast("KafkaBroker", MemoryBroker(MemoryCluster(INPUT, 1)))
    models = cast("ModelWatcher", FakeModels(BUNDLE))
    metrics = ScorerMetrics().history
    return HistoryThreads(
        ScorerSettings.model_validate(given), InputFacts(INPUT, "", 1), broker, models, metrics
    )


def test_partition_that_waits_is_named_and_is_no_fault_before_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = threads(tmp_path, history_restore_seconds=60.0)
    clock = [1000.0]
    monkeypatch.setattr("stream_scorer.process.card_histories.time.monotonic", lambda: clock[0])
    parts.histories.waiting = {3: Waiting("waiting for history", 990.0)}
    assert parts.problem() == "partition 3: waiting for history"
    assert parts.stuck() == {}
    clock[0] = 1051.0
    assert parts.stuck() == {3: "waiting for history"}


def test_mismatch_needs_an_operator_at_once(tmp_path: Path) -> None:
    parts = threads(tmp_path)
    parts.histories.waiting = {
        1: Waiting("waiting for history", 10**9),
        2: Waiting("another check sum", 10**9, needs_operator=True),
    }
    assert parts.stuck() == {2: "another check sum"}
    assert "and 1 more" in (parts.problem() or "")


def test_version_that_waits_is_named(tmp_path: Path) -> None:
    parts = threads(tmp_path)
    assert parts.problem() is None
    parts.histories.problem = "the store is down"
    assert parts.problem() == "the promoted version is not served: the store is down"


@pytest.mark.parametrize(
    ("is_cold", "days", "wanted"),
    [(True, COLD_DAYS - 1, True), (True, COLD_DAYS + 1, False), (False, 0, False)],
)
def test_history_is_cold_for_a_week_if_it_began_without_a_past(
    tmp_path: Path, is_cold: bool, days: int, wanted: bool
) -> None:
    parts = threads(tmp_path)
    assert not parts.is_cold(BUNDLE)  # no era is known
    created = datetime.now(UTC) - timedelta(days=days)
    era = replace(make_era(require_spec(BUNDLE)), is_cold=is_cold, created=created)
    parts._restorer.follow(BUNDLE)
    parts._restorer._followed[era.spec].era = era
    assert parts.is_cold(BUNDLE) is wanted
    assert not parts.is_cold(make_bundle())


def test_topics_are_checked_only_if_the_promoted_version_has_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: ScorerSettings) -> None:
        raise FatalError("topic in is compacted")

    monkeypatch.setattr(card_histories, "check_history_topics", refuse)
    settings = ScorerSettings.model_validate({})
    assert require_history_topics(settings, make_bundle)
    with pytest.raises(FatalError, match="compacted"):
        require_history_topics(settings, lambda: BUNDLE)
    with pytest.raises(RetryableError):
        require_history_topics(settings, lambda: None)
