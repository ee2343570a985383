"""The challenger of a scorer process gets the memory that the scorer does not need."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from stream_scorer.observability.shadow_metrics import ShadowMetrics
from stream_scorer.process.shadowing import Shadowing, memory_problem
from stream_scorer.settings import ScorerSettings
from stream_scorer.shadow import limits
from stream_scorer.shadow.apart import ChallengerRefused
from stream_scorer.shadow.limits import Memory

MIB = 1024 * 1024


def test_challenger_is_not_started_in_a_container_that_is_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "read_memory", lambda: Memory(1024 * MIB, 300 * MIB))
    monkeypatch.setattr(limits, "peak_bytes", lambda: 700 * MIB)
    settings = ScorerSettings(model_store_uri=tmp_path.as_uri())
    shadowing = Shadowing(settings, ShadowMetrics(CollectorRegistry()), lambda: None, dict, 2)
    with pytest.raises(
        ChallengerRefused,
        match="needs 448 MiB beside this scorer, which has needed 700 of the 1024 MiB of its cont",
    ):
        shadowing._start("v2")
    shadowing.stop()


def test_challenger_ends_when_the_container_is_nearly_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Memory(2048 * MIB, 1984 * MIB)
    monkeypatch.setattr(limits, "read_memory", lambda: found)
    assert memory_problem() is None
    found = Memory(2048 * MIB, 1985 * MIB)
    assert memory_problem() == (
        "1985 of the 2048 MiB of this container are used, and the scorer comes first"
    )
    monkeypatch.setattr(limits, "read_memory", lambda: None)
    assert memory_problem() is None
