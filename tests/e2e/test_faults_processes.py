"""Scorers killed and frozen under load, a short ``make chaos``, and its negative control."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.faults import Fault, FreezeScorer, KillScorer, expire_txn
from tests.chaos.short import assert_nothing_is_lost_or_repeated, run_campaign
from tests.chaos.world import Setup
from tests.conftest import StartBroker

pytestmark = pytest.mark.timeout(900)  # usually a minute; each step has its own deadline


def kills_and_zombies() -> list[Fault]:
    return [KillScorer(), expire_txn(), KillScorer(), FreezeScorer()]


def test_killed_and_frozen_scorers_lose_and_duplicate_nothing(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    """With the classic protocol, scorers are killed and frozen in ``test_history.py``."""
    setup = Setup(8_000, 600, "consumer")
    faults = kills_and_zombies()
    result = run_campaign(own_broker, tmp_path, setup, faults)
    assert_nothing_is_lost_or_repeated(result, 8_000)
    assert all(fault.was_fenced() for fault in faults if isinstance(fault, FreezeScorer))


def test_same_campaign_without_exactly_once_fails_the_audit(
    own_broker: StartBroker, tmp_path: Path
) -> None:
    """The campaign and its audit can detect duplicates."""
    setup = Setup(8_000, 600, is_exactly_once=False)
    result = run_campaign(own_broker, tmp_path, setup, kills_and_zombies())
    assert not result.verified
    assert result.exit_code == 1
    assert result.report["faults"]["duplicate"] > 0
