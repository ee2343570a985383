"""Request bodies of the desk: what they may hold, and clear errors for what they may not."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeVar

import orjson
from fastapi import Request
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from dashboard.cache.parsing import SELECTION_PARAMETERS, parse_selection
from dashboard.cache.selection import Selection
from dashboard.web.body import content_coding, read_body
from dashboard.web.problems import Problem, describe_fault

MAX_BYTES: Final = 256 * 1024
MAX_BATCH: Final = 100
MAX_SNOOZE_HOURS: Final = 30 * 24

LabelText = Literal["FRAUD", "LEGITIMATE", "UNSURE"]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=64, strip_whitespace=True)]
Note = Annotated[str, StringConstraints(max_length=2000, strip_whitespace=True)]
_KEY: Final = re.compile(r"[\x21-\x7e]{1,128}")
_Model = TypeVar("_Model", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class DecisionBody(_Body):
    """A decision about one flagged transaction."""

    label: LabelText
    reasons: list[Reason] = Field(default_factory=list, max_length=10)
    note: Note | None = None


class BatchItem(DecisionBody):
    """One decision of a bulk."""

    id: str = Field(min_length=1, max_length=300)
    version: int | None = Field(None, ge=0, description="like If-Match: the version you have seen")


class BatchBody(_Body):
    """Up to 100 decisions."""

    decisions: list[BatchItem] = Field(min_length=1, max_length=MAX_BATCH)


class SnoozeBody(_Body):
    """The end of a snooze: one of the two."""

    until: int | None = Field(None, ge=0, description="epoch milliseconds")
    hours: float | None = Field(None, ge=0, le=MAX_SNOOZE_HOURS)


class NextBody(_Body):
    """What to claim: the filters of the list, by name."""

    selection: dict[str, str | int | float | None] = Field(default_factory=dict)


def _as_address(name: str) -> str:
    """A name that can be part of the address that deletes the view."""
    if name in (".", ".."):  # a browser takes these for folders
        raise PydanticCustomError("view_name", "must have more than dots")
    if any(unicodedata.category(one) == "Cc" for one in name):
        raise PydanticCustomError("view_name", "must not have line breaks or control characters")
    return name


class ViewBody(_Body):
    """A saved view: the query string of the list, and the columns shown."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True),
        AfterValidator(_as_address),
    ]  # fmt: skip
    query: str = Field(max_length=2000, description="query string of the list")
    columns: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] | None = Field(
        None, max_length=50
    )


async def read_model(request: Request, model: type[_Model]) -> _Model:
    """The JSON body of a request. An empty body counts as an empty object.

    Raises:
        Problem: 413, 415 or 422, with each fault by its field.
    """
    content_coding(request)
    body = await read_body(request, MAX_BYTES)
    try:
        found = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise Problem(422, f"the body is not JSON: {error}", kind="invalid-input") from None
    if not isinstance(found, dict):
        raise Problem(
            422, f"the body must be a JSON object, not {_kind(found)}", kind="invalid-input"
        )
    try:
        return model.model_validate(found)
    except ValidationError as error:
        faults = [describe_fault(fault) for fault in error.errors(include_url=False)]
        first = faults[0]
        raise Problem(
            422,
            f"{first['field']}: {first['reason']}",
            kind="invalid-input",
            errors=faults,
        ) from None


def read_selection(given: Mapping[str, str | int | float | None]) -> Selection:
    """The filters in a body, by the names of the query parameters of the list.

    Raises:
        Problem: 422, with each unknown or invalid filter.
    """
    known = ", ".join(SELECTION_PARAMETERS)
    faults = [
        {"field": name[:40], "reason": f"unknown filter (known: {known})"}
        for name in sorted(given.keys() - SELECTION_PARAMETERS.keys())
    ]
    texts = {name: str(value) for name, value in given.items() if value is not None}
    selection, invalid = parse_selection(texts)
    if faults := [{**f, "field": f"selection.{f['field']}"} for f in [*faults, *invalid]]:
        summary = f"{faults[0]['field']}: {faults[0]['reason']}"
        raise Problem(422, summary, kind="invalid-input", errors=faults)
    return selection


def _kind(value: object) -> str:
    names: dict[type, str] = {list: "an array", str: "a string", bool: "a boolean"}
    return names.get(type(value), "null" if value is None else "a number")


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key of a request, if it has one.

    Raises:
        Problem: 400, it is empty, too long, or has other characters than printable ASCII.
    """
    given = request.headers.get("idempotency-key")
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise Problem(
            400,
            "Idempotency-Key must have 1 to 128 printable ASCII characters without spaces, "
            "such as a UUID",
            errors=[{"field": "Idempotency-Key", "reason": "not valid"}],
        )
    return given


def expected_version(request: Request) -> int | None:
    """The version of the case in If-Match. None without the header, or for ``*``.

    Raises:
        Problem: 400, it is not the ETag of a case.
    """
    given = request.headers.get("if-match", "*").strip()
    if given == "*":
        return None
    text = given.removeprefix('"').removesuffix('"')
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise Problem(
            400,
            f'If-Match must be the version of the case, such as "3", or *, not {given[:40]!r}',
            errors=[{"field": "If-Match", "reason": "not the version of a case"}],
        )
    return int(text)
