"""Faults of broker and topics, and members that come and go, under load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import Fault, FreezeBroker, KillBroker, Scale
from tests.chaos.short import assert_nothing_is_lost_or_repeated, run_campaign
from tests.chaos.topic_faults import FAILED, Missing, ReadOnly, SmallMessages
from tests.chaos.world import Setup
from tests.conftest import StartBroker

pytestmark = pytest.mark.timeout(900)  # a minute is usual; each step has a deadline of its own


def test_broker_and_members_come_and_go_without_loss_or_repetition(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    faults: list[Fault] = [Scale(4, usual=1, hold_seconds=4.0), KillBroker(), FreezeBroker()]
    setup = Setup(6_000, 600)
    result = run_campaign(own_broker, tmp_path, setup, faults, members=1)
    assert_nothing_is_lost_or_repeated(result, 6_000)


def test_topics_that_are_missing_read_only_or_too_small_cost_no_record(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    faults: list[Fault] = [
        SmallMessages("dlq", 20_000, 3.0), ReadOnly("output", 2.0), ReadOnly("dlq", 2.0),
    ]  # fmt: skip
    setup = Setup(10_000, 700)
    result = run_campaign(own_broker, tmp_path, setup, faults, before=Missing())
    assert_nothing_is_lost_or_repeated(result, 10_000)
    assert FAILED in result.exits
    said = "\n".join(log.read_text() for log in tmp_path.glob("scorer-*.log"))
    assert "now accepts only smaller records than when this process started" in said
