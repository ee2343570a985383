"""The objects that the handlers of one process share. ``app.py`` builds them once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from fastapi import Request
from fastapi.templating import Jinja2Templates

from dashboard.cases.desk import Desk
from dashboard.feed.board import Board
from dashboard.feed.inputs import Inputs
from dashboard.history.past import Histories
from dashboard.live.hub import Hub
from dashboard.masking import FieldMask
from dashboard.metrics import Metrics
from dashboard.model_status import ModelSource
from dashboard.models.catalog import Catalog
from dashboard.models.last_result import LastResult
from dashboard.operations.meter import Meter
from dashboard.operations.monitor import Monitor
from dashboard.settings import DashboardSettings
from dashboard.trainings.trainings import Trainings
from dashboard.web.auth import Authenticator
from dashboard.web.body import BodyBudget
from dashboard.web.limits import RateLimiter
from dashboard.web.sealing import Sealer
from stream_scorer.drift.reading.report import DriftReport


@dataclass(frozen=True, slots=True)
class Operations:
    """What the pages about operations and drift read."""

    meter: Meter
    monitor: Monitor
    drift: LastResult[DriftReport]


@dataclass(frozen=True, slots=True)
class Parts:
    """The shared objects of a running dashboard."""

    settings: DashboardSettings
    version: str
    table: Path
    board: Board
    model: ModelSource
    histories: Histories
    hub: Hub
    metrics: Metrics
    sealer: Sealer
    mask: FieldMask
    """What viewers do not see."""
    authenticator: Authenticator
    templates: Jinja2Templates
    scoring: CapacityLimiter
    predict_rate: RateLimiter
    action_rate: RateLimiter
    bodies: BodyBudget
    inputs: Inputs
    desk: Desk
    desk_calls: CapacityLimiter
    record_reads: CapacityLimiter
    catalog: Catalog
    quality: LastResult[Mapping[str, Any]]
    operations: Operations
    trainings: Trainings
    waiting: CapacityLimiter
    """For threads that wait for the store or a broker: they must not take those of requests."""


def parts_of(request: Request) -> Parts:
    """The parts of the app that handles this request."""
    parts = request.app.state.parts
    assert isinstance(parts, Parts)  # noqa: S101 - set by build_app
    return parts
