"""A challenger in a process of its own: it scores the same bits, and is ended when it is bad."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream_scorer.errors import StoreError
from stream_scorer.model.bundle import build_files
from stream_scorer.model.store.file_store import FileStore
from stream_scorer.settings import ScorerSettings
from stream_scorer.shadow import limits
from stream_scorer.shadow.apart import (
    ChallengerProcess,
    ChallengerRefused,
    ProcessStarter,
    environment_of,
    start_command,
)
from tests.support.factories import make_bundle, make_draft
from tests.support.shadow.kit import make_shadowed
from tests.support.waiting import wait_until

SEGMENT = 8_000_000
PROGRAM = start_command("tests.support.shadow.bad_challenger")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ScorerSettings:
    folder = tmp_path_factory.mktemp("store")
    store = FileStore(folder)
    for seed in (1, 2):
        store.publish(*build_files(make_draft(seed)))
    return ScorerSettings(
        model_store_uri=folder.as_uri(), shadow_spare_cpu_only=False, log_level="ERROR"
    )


@pytest.fixture
def bad(settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch) -> ProcessStarter:
    monkeypatch.setenv("BAD_CHALLENGER", "score,raise,memory,slow,hang")
    monkeypatch.setenv("BAD_CHALLENGER_ALONE", "1")
    return ProcessStarter(PROGRAM, settings, 1.0, 2, SEGMENT)


def limit_of(challenger: ChallengerProcess) -> int:
    lines = Path(f"/proc/{challenger.pid}/limits").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith("Max data size"))
    return int(found.split()[3])


def test_one_process_scores_raises_wants_2_gib_is_slow_and_hangs(bad: ProcessStarter) -> None:
    challenger = bad.start("v2", limits.MEMORY_BYTES)
    assert (challenger.version, challenger.history) == ("v2", None)
    assert limit_of(challenger) == limits.MEMORY_BYTES
    assert Path(f"/proc/{challenger.pid}/oom_score_adj").read_text() == "1000\n"
    beside = make_shadowed(make_bundle("v2", 2))
    beside.drain()
    assert beside.worker.wait_idle(90)
    apart = make_shadowed(None)
    apart.worker.use(challenger)
    apart.drain()
    # The batches are of five: one is scored, two fail, one is late, and one never ends.
    wait_until(
        lambda: apart.events.errors == 10 and apart.events.figures.rows == 10,
        what="two batches to be scored and two to fail",
    )
    status = Path(f"/proc/{challenger.pid}/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0])
    assert peak * 1024 < limits.MEMORY_BYTES
    assert apart.output() == beside.output()
    apart.worker.stop()
    assert not Path(f"/proc/{challenger.pid}").exists()


def test_what_cannot_be_loaded_is_refused_with_the_reason(
    bad: ProcessStarter, settings: ScorerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="v9"):
        bad.start("v9", limits.MEMORY_BYTES)
    monkeypatch.setenv("BAD_CHALLENGER", "load")
    large = ProcessStarter(PROGRAM, settings, 1.0, 2, SEGMENT)
    with pytest.raises(ChallengerRefused, match="needs more than 512 MiB of memory"):
        large.start("v2", limits.MEMORY_BYTES)
    bad.stop()
    with pytest.raises(ChallengerRefused, match="was not loaded"):
        bad.start("v2", limits.MEMORY_BYTES)


def test_settings_are_given_as_variables(tmp_path: Path) -> None:
    given = ScorerSettings(
        model_store_uri=tmp_path.as_uri(), kafka_sasl_password="secret", shadow_share=0.5
    )
    found = environment_of(given)
    assert found["MODEL_STORE_URI"] == tmp_path.as_uri()
    assert (found["KAFKA_SASL_PASSWORD"], found["SHADOW_SHARE"]) == ("secret", "0.5")
    assert "MODEL_POLL_SECONDS" not in found
    assert os.environ.keys().isdisjoint({"KAFKA_SASL_PASSWORD"})
