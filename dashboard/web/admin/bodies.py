"""Reads small request bodies: a JSON object or a form."""

from __future__ import annotations

from typing import Final, TypeVar
from urllib.parse import parse_qs

from fastapi import Request
from pydantic import BaseModel, ValidationError

from dashboard.web.body import content_coding, read_body
from dashboard.web.problems import Problem, describe_fault
from schemas.json.codec import parse_json

MAX_BYTES: Final = 16 * 1024
SECONDS: Final = 5.0
_MAX_FIELDS: Final = 20

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, model: type[M]) -> M:
    """The JSON object of a body.

    Raises:
        Problem: 422, with each fault; 413, 408, 415 as :func:`read_body`.
    """
    content_coding(request)
    body = await read_body(request, MAX_BYTES, seconds=SECONDS)
    try:
        found = parse_json(body)
    except ValueError as error:
        raise Problem(422, f"the body is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        names = ", ".join(f'"{name}"' for name in model.model_fields)
        raise Problem(422, f"the body must be a JSON object with {names}")
    return _validate(model, found)


async def read_form(request: Request, model: type[M]) -> M:
    """The fields of a form. Empty fields are left out.

    Raises:
        Problem: as :func:`read_json`.
    """
    content_coding(request)
    body = await read_body(request, MAX_BYTES, seconds=SECONDS)
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Problem(422, f"the form has more than {_MAX_FIELDS} fields") from None
    return _validate(model, {name: values[-1] for name, values in fields.items()})


def _validate(model: type[M], fields: dict[str, object]) -> M:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        faults = [describe_fault(fault) for fault in error.errors(include_url=False)]
        first = faults[0]
        raise Problem(422, f"{first['field']}: {first['reason']}", errors=faults) from None
