"""Promotes and rolls back for a lead, with the code of the trainer, and records who and why."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Final

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from dashboard.cases.case import Who
from dashboard.cases.events import PROMOTION, ROLLBACK
from dashboard.web.admin.champion_alias import follow_pointer
from dashboard.web.admin.waiting import wait_for
from dashboard.web.cases.answers import act, who_acts
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from dashboard.web.roles import LEADS
from stream_scorer.errors import ScorerError, StoreError
from stream_scorer.model.store.names import is_version
from stream_scorer.model.store.promotions import REASON_MAX_CHARACTERS, Override
from stream_scorer.model.versions.listing import UnknownVersion
from stream_scorer.model.versions.promoting import (
    CannotServe,
    NeedsForce,
    NothingToRollBackTo,
    PointerMoved,
    Seen,
    promote_version,
    roll_back,
)

log = logging.getLogger(__name__)

SECONDS: Final = 60.0
"""A promotion loads the version as a scorer would: tens of megabytes from the store."""

Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=REASON_MAX_CHARACTERS),
]


class PromotionModel(BaseModel):
    """A promotion or a rollback."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"expected": "v7", "reason": "better on the labels of May", "force": False}
        },
    )

    expected: str | None = Field(
        description="the version that was promoted when you decided; null if none was. Another "
        "pointer gets a 409"
    )
    reason: Reason = Field(description="why; it is recorded")
    force: bool = Field(
        False, description="although the gate refused the version, or a scorer rejected it"
    )


async def promote(
    request: Request, parts: Parts, version: str | None, body: PromotionModel
) -> dict[str, Any]:
    """Promote ``version``; None rolls back to the previous one.

    Raises:
        Problem: 403 without the role lead, 404 for an unknown version, 409 if the pointer moved or
            force is needed, 422 if the version cannot be served, 503 if the store refuses, or if
            the promotion could not be recorded.
    """
    who = who_acts(request, parts, LEADS)
    if version is not None and not is_version(version):
        raise Problem(404, f"{version[:40]!r} is not a version such as v3")
    override = Override(who.name, body.reason) if body.force else None
    seen = Seen(body.expected)

    def call() -> str:
        store = parts.catalog.store
        if version is None:
            return roll_back(store, parts.settings, override, seen)[1]
        promote_version(store, parts.settings, version, override=override, seen=seen)
        return version

    try:
        promoted = await wait_for(parts, call, SECONDS, "the artifact store")
    except ScorerError as error:
        raise refusal_of(error, version, parts.settings.store_uri) from None
    done: dict[str, Any] = {
        "promoted": promoted,
        "previous": body.expected,
        "is_rollback": version is None,
        "force": body.force,
        "loaded_within_seconds": parts.settings.model_poll_seconds,
    }
    try:
        await _record(parts, who, body.reason, done)
    finally:  # also if the audit log fails: the version is promoted
        done["mlflow"] = await follow_pointer(parts)
    return done


def refusal_of(error: ScorerError, version: str | None, store_uri: str) -> Problem:
    """The problem for a promotion that did not happen."""
    if isinstance(error, PointerMoved):
        return Problem(409, f"{error}: reload the page and decide again", kind="pointer-moved")
    if isinstance(error, NeedsForce):
        what = version or "the rollback"
        how = "a scorer rejected" if error.is_rejected else "its gate refused"
        reasons = "; ".join(error.reasons)
        detail = (
            f'{how} {what}: {reasons}. To promote it all the same, set "force": the store records '
            "your name and your reason"
        )
        return Problem(409, detail, kind="needs-force", reasons=list(error.reasons))
    if isinstance(error, NothingToRollBackTo):
        return Problem(409, str(error), kind="nothing-to-roll-back-to")
    if isinstance(error, UnknownVersion):
        return Problem(404, str(error))
    if isinstance(error, CannotServe):
        return Problem(422, str(error), kind="cannot-serve")
    if isinstance(error, StoreError):
        rights = (
            "s3:PutObject and s3:DeleteObject on manifests/ and models/latest/"
            if store_uri.startswith("s3:")
            else "write permission in the store's folder"
        )
        detail = (
            f"nothing was promoted: {error}. The dashboard needs {rights}; with read-only "
            "credentials, promote with fraud-trainer models promote"
        )
        return Problem(503, detail, kind="store-refused")
    return Problem(422, str(error))


async def _record(parts: Parts, who: Who, reason: str, done: dict[str, Any]) -> None:
    """Record a promotion that happened: in the log, and in the audit log of the desk."""
    log.warning(
        "%s %s %s", who.name, "rolled back to" if done["is_rollback"] else "promoted",
        done["promoted"], extra={"reason": reason, "force": done["force"]},
    )  # fmt: skip
    details = {name: done[name] for name in ("promoted", "previous", "force")}
    kind = ROLLBACK if done["is_rollback"] else PROMOTION
    try:
        await act(parts, lambda: parts.desk.record(kind, who, {**details, "reason": reason}))
    except Problem as problem:
        # It must not look as if nothing was promoted.
        raise Problem(
            503,
            f"{done['promoted']} is promoted, but the audit log has no event of it: "
            f"{problem.detail}. Do not repeat it",
            kind="not-in-audit-log",
        ) from None
