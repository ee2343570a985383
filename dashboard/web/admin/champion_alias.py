"""MLflow's alias ``champion`` follows a promotion, as after ``fraud-trainer models promote``.

The pointer of the store decides what is served, and MLflow does not: a promotion stands, whatever
becomes of the alias.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, Field, SecretStr

from dashboard.settings import DashboardSettings
from dashboard.web.admin.waiting import wait_for
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from stream_scorer.errors import ScorerError
from stream_scorer.tracking.alias import SECONDS, TrackingError, TrackingServer, move_alias
from stream_scorer.tracking.identity import identity_tags

log = logging.getLogger(__name__)

_SPARE_SECONDS: Final = 2.0  # for the store, and for an answer that comes byte by byte


class AliasState(StrEnum):
    """What became of the alias."""

    MOVED = "moved"
    NOT_REGISTERED = "not-registered"
    FAILED = "failed"


class AliasModel(BaseModel):
    """What became of MLflow's alias ``champion``."""

    state: AliasState = Field(
        description="moved; not-registered (MLflow does not have the version, so no version has "
        "the alias); or failed (it names what it named before)"
    )
    reason: str | None = Field(description="why it failed")
    command: str | None = Field(
        description="what to run where it was not moved", examples=["fraud-trainer models track v7"]
    )


async def follow_pointer(parts: Parts) -> dict[str, Any] | None:
    """Let the alias name what the pointer names; None without ``MLFLOW_TRACKING_URI``.

    Never raises: a problem is logged and returned.
    """
    server = _server(parts.settings)
    if server is None:
        return None
    version = ""

    def call() -> str | None:
        nonlocal version
        pointer = parts.catalog.store.current()
        if pointer is None:
            raise TrackingError("the pointer names no version")
        version = pointer.version
        tags = identity_tags(parts.catalog.metadata(version) | {"version": version})
        return move_alias(server, tags)

    try:
        registered = await wait_for(parts, call, SECONDS + _SPARE_SECONDS, "MLflow")
    except (Problem, TrackingError, ScorerError) as error:
        reason = error.detail if isinstance(error, Problem) else str(error)
        log.warning("the alias champion in MLflow was not moved: %s", reason)
        return _as_json(AliasState.FAILED, version, reason)
    if registered is None:
        log.warning("%s is promoted, but it is not registered in MLflow", version)
        return _as_json(AliasState.NOT_REGISTERED, version)
    return _as_json(AliasState.MOVED, version)


def _as_json(state: AliasState, version: str, reason: str | None = None) -> dict[str, Any]:
    is_moved = state is AliasState.MOVED
    command = None if is_moved else f"fraud-trainer models track {version or 'vN'}"
    return {"state": state.value, "reason": reason, "command": command}


def _server(settings: DashboardSettings) -> TrackingServer | None:
    if not settings.mlflow_tracking_uri:
        return None
    return TrackingServer(
        settings.mlflow_tracking_uri,
        settings.mlflow_tracking_username or "",
        _secret(settings.mlflow_tracking_password),
        _secret(settings.mlflow_tracking_token),
    )


def _secret(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()
