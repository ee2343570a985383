"""The OpenAPI schema of the desk."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, Field

from dashboard.web.predict_docs import problem_responses

ACTIONS: Final = {
    202: {"description": "stored on this dashboard; not on the topic yet"},
    **problem_responses(
        s400="an invalid header, or an unknown query parameter",
        s403="this user's role may not do it",
        s404="no such flagged transaction",
        s409="another user was first; by and since say who and when",
        s412="the case has another version than If-Match; case is how it is now",
        s422="the body is not valid, or the Idempotency-Key was used for something else",
        s429="more actions than DASHBOARD_ACTIONS_PER_MINUTE",
        s503="the dashboard cannot store it: its disk fails, or too much waits to be recorded",
    ),
}
"""Responses that all actions share."""

BODY_PROBLEMS: Final = problem_responses(
    s408="the body did not arrive in time",
    s413="the body is too large",
    s415="the body has a Content-Encoding",
)
"""Responses of the actions that have a body."""

_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a text of your own, such as a UUID: the same request with the same key is done "
    "once",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$", "examples": ["a-key-of-mine-1"]},
}
_VERSION: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "the ETag of the case that you saw: if it has changed, the answer is 412",
    "schema": {"type": "string", "pattern": '^("[0-9]{1,15}"|[*])$', "examples": ['"3"']},
}
KEY: Final[dict[str, Any]] = {"parameters": [_KEY]}
VERSION: Final[dict[str, Any]] = {"parameters": [_VERSION]}
KEY_AND_VERSION: Final[dict[str, Any]] = {"parameters": [_KEY, _VERSION]}
"""The description of the headers that an action accepts."""


class CaseModel(BaseModel):
    """The work on one flagged transaction."""

    status: str = Field(description="open, claimed, snoozed or decided")
    by: str | None = Field(description="who holds or snoozed it")
    until: int | None = Field(description="end of the lease or snooze, epoch milliseconds")
    since: int | None = Field(description="when it was claimed, epoch milliseconds")
    label: str | None = Field(description="FRAUD, LEGITIMATE or UNSURE")
    decided_by: str | None
    decided_at: int | None = Field(description="epoch milliseconds")
    note: str | None
    reasons: list[str]
    recorded: str | None = Field(description="partition:offset of the record with the label")
    pending: bool = Field(description="the decision waits in the outbox of this dashboard")
    version: int = Field(description="grows with each change; the ETag of the case")
    external: str | None = Field(description="the label of a chargeback or reversal")
    is_local: bool = Field(description="the claim is known to this dashboard alone")


class CaseAnswerModel(BaseModel):
    """A case after an action."""

    id: str
    case: CaseModel


class BatchItemModel(BaseModel):
    """The result of one decision of a bulk."""

    id: str
    status: int = Field(description="the status that the decision alone would have had")
    case: CaseModel | None = None
    problem: dict[str, str] | None = None


class BatchModel(BaseModel):
    """The results in the order of the request."""

    items: list[BatchItemModel]


class CaseEventModel(BaseModel):
    """One entry of the history of a case."""

    at: int = Field(description="when it was recorded, by the broker's clock; epoch milliseconds")
    made_at: int | None = Field(description="when it was made, by the clock of whoever made it")
    kind: str = Field(
        description="claim, release, snooze, decision, withdrawal, chargeback or reversal"
    )
    by: str
    label: str | None
    reasons: list[str]
    note: str | None
    until: int | None
    origin: str | None = Field(description="ANALYST, CHARGEBACK or REVERSAL, of a label")
    recorded: str | None
    supersedes: str | None = Field(description="partition:offset of the label it replaces")
    pending: bool
    is_effective: bool = Field(description="false for a claim that lost")


class CaseHistoryModel(BaseModel):
    """The history of a case, oldest first."""

    items: list[CaseEventModel]


class AuditEventModel(BaseModel):
    """One event of the audit log."""

    event_id: str
    kind: str
    at: int
    time: int = Field(description="the broker's time, epoch milliseconds")
    by: str
    role: str | None
    client: str | None
    flag_id: str | None
    transaction_id: int | None
    until: int | None
    label: str | None
    reasons: list[str]
    note: str | None
    details: Any = None
    recorded: str = Field(description="partition:offset on the audit topic")


class AuditPageModel(BaseModel):
    """A page of the audit log, newest first."""

    items: list[AuditEventModel]
    next_cursor: str | None


class ViewModel(BaseModel):
    """A saved view."""

    name: str
    query: str
    columns: list[str] | None


class ViewsModel(BaseModel):
    """The saved views of this user."""

    items: list[ViewModel]


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """The description of a request body that the handler reads itself."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {
        "requestBody": {"content": {"application/json": {"schema": _inlined(schema, definitions)}}}
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with its definitions in place of the references to them."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return _inlined(definitions[reference.rpartition("/")[2]], definitions)
    return {name: _inlined(value, definitions) for name, value in schema.items()}
