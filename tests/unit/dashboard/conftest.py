"""Actions at a desk wait for its topics longer than they have to, as this machine may be busy."""

from __future__ import annotations

import pytest

from tests.support.desk.patient_dashboard import LIMITS, SECONDS


@pytest.fixture(autouse=True)
def patient_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without this, a claim that is not read back within 0.7 seconds is one of this desk alone."""
    for module, name in LIMITS:
        monkeypatch.setattr(module, name, SECONDS)
