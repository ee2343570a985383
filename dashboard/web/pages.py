"""What all HTML pages have in common. They can be read without JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from dashboard.live.ticks import build_vitals
from dashboard.model_status import describe_features
from dashboard.web.auth import TokenAuth, identity_of
from dashboard.web.parts import Parts, parts_of
from dashboard.web.roles import mask_of
from dashboard.web.texts import format_duration


def render_page(request: Request, template: str, status: int = 200, **more: Any) -> Response:
    """A page of a template, with what the layout of all pages needs."""
    parts = parts_of(request)
    context = {
        "version": parts.version,
        "settings": parts.settings,
        "user": identity_of(request),
        "mask": mask_of(request),
        "can_log_out": isinstance(parts.authenticator, TokenAuth),
        **more,
    }
    page: Response = parts.templates.TemplateResponse(request, template, context, status)
    return page


def page_state(parts: Parts) -> dict[str, Any]:
    """The state that the header and the banners of a page show."""
    vitals = build_vitals(parts.board, parts.model, parts.hub.latest.rates)
    return {
        "vitals": vitals,
        "delay_to_here": _describe_delay(vitals),
        "features": describe_features(parts.model),
    }


def _describe_delay(vitals: Mapping[str, Any]) -> str:
    """How late rows appear. ``static/queue-state.js`` says the same of live rows."""
    delay, read_at = vitals["delay_ms"], vitals["feed"]["read_at"]
    delay = vitals["lag_ms"] if delay is None else delay
    if delay is not None and read_at is not None and vitals["backlog"]:
        delay = max(delay, vitals["now"] - read_at)
    return format_duration(delay)
