"""What each role may do. The server checks it, whatever a page shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastapi import Request

from dashboard.masking import FILTERS, NO_MASK, FieldMask
from dashboard.web.auth import identity_of
from dashboard.web.parts import parts_of
from dashboard.web.problems import Problem
from dashboard.web.tokens import Identity

DECIDERS: Final = ("analyst", "lead")
"""Claim, decide, snooze, save views and export."""

LEADS: Final = ("lead",)
"""Promote and roll back models."""

AUDITORS: Final = ("lead", "ops")
"""Read the audit log."""

OPERATORS: Final = ("lead", "ops")
"""See the words of drivers: errors of Kafka, the store and the registry, with hosts and names."""


WHOLE_RECORDS: Final = ("analyst", "lead", "ops")
"""See all fields of transactions. Others do not see those of ``DASHBOARD_MASKED_FIELDS``."""

HIDDEN: Final = "people with the role ops or lead see the reason"
"""Said in place of the words of drivers."""


TRAINERS: Final = ("lead", "ops")
"""Start a training."""

CANCELLERS: Final = ("ops",)
"""Cancel a training that somebody has requested."""


def has_role(identity: Identity | None, roles: tuple[str, ...]) -> bool:
    """Whether the user has one of the roles, so that a page shows what it may use."""
    return identity is not None and identity.role in roles


def sees_reasons(request: Request) -> bool:
    """Whether the user of the request sees the words of drivers. Others get a plain sentence."""
    return has_role(identity_of(request), OPERATORS)


def mask_of(request: Request) -> FieldMask:
    """What the user of the request does not see."""
    is_whole = has_role(identity_of(request), WHOLE_RECORDS)
    return NO_MASK if is_whole else parts_of(request).mask


def refuse_hidden(mask: FieldMask, parameters: Iterable[str], what: str = "filter by it") -> None:
    """Refuse to look for a value that the user does not see.

    Raises:
        Problem: 403, one of these query parameters does.
    """
    for name in parameters:
        if mask.hides_filter(name):
            reason = f"your role does not see {FILTERS[name]}, and so it cannot {what}"
            raise Problem(
                403, reason, kind="field-hidden", errors=[{"field": name, "reason": reason}]
            )


def require_role(request: Request, roles: tuple[str, ...]) -> Identity:
    """The user of the request.

    Raises:
        Problem: 403, the user has none of the roles.
    """
    identity = identity_of(request)
    if identity is None or not has_role(identity, roles):
        role = "no role" if identity is None else f"the role {identity.role}"
        raise Problem(
            403,
            f"this needs the role {' or '.join(roles)}, and you have {role}: "
            "ask whoever manages access to the dashboard",
            kind="role-required",
            roles=list(roles),
        )
    return identity
