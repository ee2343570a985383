"""The store, the disk and the clock fail under load, and the scores do not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.records import decode_record
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.scoring import score
from tests.chaos.campaign import Campaign
from tests.chaos.faults import Fault
from tests.chaos.faulty_proxy import Mode
from tests.chaos.short import assert_nothing_is_lost_or_repeated
from tests.chaos.store_faults import CacheFull, ClockStep, StoreFault
from tests.chaos.world import BROKER, Setup, World, make_world
from tests.conftest import StartBroker
from tests.support.factories import make_batch
from tests.support.records import read_all

pytestmark = pytest.mark.timeout(900)  # usually a minute; each step has its own deadline


def assert_scores_are_the_models(world: World) -> tuple[set[str], float]:
    """Compare each score with its version's, computed here.

    Returns:
        The versions used, and the seconds between the first and the last ``scored_at``.
    """
    batch = make_batch(2_000)
    versions = {v: load_bundle(world.store.fetch(v), v) for v in world.store.versions()}
    expected = {v: score(batch, bundle).scores for v, bundle in versions.items()}
    times, used = [], set()
    for record in read_all(world.broker.settings, world.topics.output_topic):
        found = decode_record("fraud_score", record.value)
        used.add(found["model_version"])
        times.append(found["scored_at"])
        assert found["score"] == expected[found["model_version"]][found["transaction_id"] - 1]
    return used, (max(times) - min(times)) / 1000


def test_faults_of_store_disk_and_clock_change_no_score_and_lose_no_record(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    modes = [mode for mode in Mode if mode is not Mode.OK]
    faults: list[Fault] = [ClockStep(3_600, 1.0), ClockStep(-86_400, 1.0)]
    faults += [StoreFault(mode, 1.0) for mode in modes]
    faults.append(CacheFull(hold_seconds=2.0))
    broker = own_broker(tmp_path / "kafka", properties=BROKER)
    setup = Setup(
        12_000, 500, is_s3=True, session_seconds=4.0
    )  # so that killed members are noticed soon
    with make_world(setup, tmp_path, broker) as world:
        result = Campaign(world, faults, members=2).run()
        used, spread = assert_scores_are_the_models(world)
        met = set(world.proxy.requests if world.proxy else [])
    assert_nothing_is_lost_or_repeated(result, 12_000)
    assert len(used) > 2
    assert met == set(Mode)  # a scorer sent a request in each mode
    assert spread > 24 * 3_600
