"""What the forms of a transaction's page do, with or without JavaScript.

The forms are protected by the same-origin check of every POST (``AccessMiddleware``), and the
session cookie is not sent by other sites (``SameSite=Lax``). Each form has the Idempotency-Key of
the decision that it can make, so that a repeated submission is the same decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs

from fastapi import Request

from dashboard.cases.case import LABELS, Case, Decision, Who
from dashboard.web.body import content_coding, read_body
from dashboard.web.cases.answers import act
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem

_MAX_BYTES: Final = 64 * 1024  # a note of 2,000 characters, percent-encoded, and the rest
_MAX_FIELDS: Final = 40
_MAX_NOTE_CHARS: Final = 2000
_MAX_KEY_CHARS: Final = 128
_MAX_REASONS: Final = 10
_MAX_REASON_CHARS: Final = 64
_MAX_HOURS: Final = 30 * 24
_HOUR_MS: Final = 3_600_000
_VERSION_DIGITS: Final = 15

Form = Mapping[str, list[str]]


async def read_form(request: Request) -> Form:
    """The fields of a submitted form.

    Raises:
        Problem: 413, 415 or 422.
    """
    content_coding(request)
    text = (await read_body(request, _MAX_BYTES)).decode("utf-8", "replace")
    try:
        return parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError:
        reason = f"the form must have at most {_MAX_FIELDS} fields"
        raise Problem(422, reason, kind="invalid-input") from None


async def carry_out(parts: Parts, flag_id: str, form: Form, who: Who) -> Case:
    """Do what the button of a submitted form says.

    Raises:
        Problem: a field is not valid, or the desk refuses the action.
    """
    desk = parts.desk
    if "label" in form:
        decision, key, version = _read_decision(flag_id, form)
        return await act(parts, lambda: desk.decide(decision, who, key, version))
    if "withdraw" in form:
        # With the version, so that it is not the decision that another user made meanwhile.
        key, version = _read_key(form), _read_version(form)
        return await act(parts, lambda: desk.withdraw(flag_id, who, key, version))
    if "claim" in form:
        change = desk.release if form["claim"] == ["release"] else desk.claim
        return await act(parts, lambda: change(flag_id, who))
    if "hours" in form:
        until = parts.board.now() + _read_hours(form) * _HOUR_MS
        return await act(parts, lambda: desk.snooze(flag_id, until, who))
    raise _fault("label", "missing: use one of the buttons of the page")


def _read_decision(flag_id: str, form: Form) -> tuple[Decision, str, int | None]:
    label = _one(form, "label")
    if label not in LABELS:
        raise _fault("label", f"must be one of {', '.join(LABELS)}, not {label[:40]!r}")
    note = _one(form, "note").strip()
    if len(note) > _MAX_NOTE_CHARS:
        raise _fault("note", f"must have at most {_MAX_NOTE_CHARS:,} characters")
    reasons = tuple(reason.strip() for reason in form.get("reason", []) if reason.strip())
    if len(reasons) > _MAX_REASONS or any(len(r) > _MAX_REASON_CHARS for r in reasons):
        limits = f"at most {_MAX_REASONS} reasons of {_MAX_REASON_CHARS} characters"
        raise _fault("reason", f"must be {limits}")
    decision = Decision(flag_id, label, reasons, note or None)
    return decision, _read_key(form), _read_version(form)


def _read_version(form: Form) -> int | None:
    version = _one(form, "version")
    if version and not (
        version.isascii() and version.isdigit() and len(version) <= _VERSION_DIGITS
    ):
        raise _fault("version", f"must be the version of the case, not {version[:40]!r}")
    return int(version) if version else None


def _read_key(form: Form) -> str:
    key = _one(form, "key")
    if not key or len(key) > _MAX_KEY_CHARS or not key.isascii() or not key.isalnum():
        raise _fault("key", "missing or not valid: load the page again and repeat")
    return key


def _read_hours(form: Form) -> int:
    hours = _one(form, "hours")
    is_number = hours.isascii() and hours.isdigit() and len(hours) <= len(str(_MAX_HOURS))
    if not is_number or not 0 <= int(hours) <= _MAX_HOURS:
        raise _fault("hours", f"must be a whole number from 0 to {_MAX_HOURS}")
    return int(hours)


def _one(form: Form, name: str) -> str:
    return form.get(name, [""])[0]


def _fault(name: str, reason: str) -> Problem:
    errors: list[dict[str, Any]] = [{"field": name, "reason": reason}]
    return Problem(422, f"{name}: {reason}", kind="invalid-input", errors=errors)
