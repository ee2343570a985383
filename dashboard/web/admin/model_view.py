"""What the model page and its API show: versions, where each is in use, and details of one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from dashboard.model_status import describe_model
from dashboard.models.catalog import Overview
from dashboard.models.curves import BUDGETS, RECALLS, describe_curves
from dashboard.models.facts import as_time, compare, describe_features, describe_gate
from dashboard.web.admin.waiting import wait_for
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from stream_scorer.errors import ScorerError, StoreError
from stream_scorer.model.store.names import is_version
from stream_scorer.model.store.promotions import Promotion
from stream_scorer.model.versions.listing import UnknownVersion
from stream_scorer.model.versions.reports import find_report

log = logging.getLogger(__name__)

SECONDS: Final = 15.0
STORE: Final = "the artifact store"


async def overview(parts: Parts) -> Overview:
    """The versions and promotions of the store.

    Raises:
        Problem: 503, the store does not answer or cannot be read.
    """
    try:
        return await wait_for(parts, parts.catalog.overview, SECONDS, STORE)
    except StoreError as error:
        raise unreadable(error) from None


async def details(parts: Parts, version: str, against: str | None) -> dict[str, Any]:
    """One version, with the figures of another beside it.

    Raises:
        Problem: 404 for an unknown version, 422 if its metadata cannot be read, 503 as above.
    """
    for name in (version, against):
        if name is not None and not is_version(name):
            raise Problem(404, f"{name[:40]!r} is not a version such as v3")

    def call() -> dict[str, Any]:
        metadata = parts.catalog.metadata(version)
        other = None if against is None else parts.catalog.metadata(against)
        return {
            "version": version,
            "against": against,
            "gate": describe_gate(metadata),
            "sections": compare(metadata, other),
            "features": describe_features(metadata),
            "report": describe_report(version, metadata),
            "curves": {
                "recalls": RECALLS,
                "budgets": BUDGETS,
                "this": describe_curves(metadata),
                "other": None if other is None else describe_curves(other),
            },
        }

    try:
        return await wait_for(parts, call, SECONDS, STORE)
    except UnknownVersion as error:
        raise Problem(404, str(error)) from None
    except StoreError as error:
        raise unreadable(error) from None
    except ScorerError as error:
        raise Problem(422, str(error), kind="unreadable-version") from None


def describe_overview(found: Overview, parts: Parts) -> dict[str, Any]:
    """The overview as JSON."""
    stamp = parts.board.status.stamp
    return {
        "promoted": found.promoted,
        "loaded_here": describe_model(parts.model),
        "on_the_stream": None if stamp is None else stamp.model_version,
        "previous": found.previous,
        "no_previous": found.no_previous or None,
        "versions": [version.as_json() for version in found.versions],
        "older_versions": found.older,
        "promotions": [describe_promotion(promotion) for promotion in found.promotions],
        "poll_seconds": parts.settings.model_poll_seconds,
    }


def describe_report(version: str, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
    """Where the report of ``version`` is, and whose evaluation it is; None if it has none."""
    facts = find_report(metadata)
    if facts is None:
        return None
    return {"version": facts.version, "bytes": facts.size, "href": f"/model/{version}/report"}


def describe_promotion(promotion: Promotion) -> dict[str, Any]:
    """A promotion as JSON."""
    return {
        "version": promotion.version,
        "previous": promotion.previous,
        "is_rollback": promotion.is_rollback,
        "at": as_time(promotion.at) or None,
        "host": promotion.host or None,
        "forced_by": promotion.by or None,
        "reason": promotion.reason or None,
    }


def unreadable(error: StoreError) -> Problem:
    """The problem for a store that cannot be read."""
    log.warning("the artifact store cannot be read: %s", error)
    return Problem(
        503,
        "the artifact store cannot be read: people with the role ops or lead see the reason on "
        "the page Health",
        kind="store-unavailable",
        headers={"Retry-After": "5"},
    )
