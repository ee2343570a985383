"""``/api/v1/flags/{id}/raw``: the input record of a flagged transaction, read from Kafka."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import anyio
import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from dashboard.feed.records import InputRecord, RecordGone, decode_input
from dashboard.web.api import find_flag
from dashboard.web.listing import forbid_unknown
from dashboard.web.lookups.docs import RawModel
from dashboard.web.parts import Parts, parts_of
from dashboard.web.predict_docs import REFUSALS, problem_responses
from dashboard.web.problems import Problem
from dashboard.web.roles import mask_of
from stream_scorer.errors import ScorerError

log = logging.getLogger(__name__)

router = APIRouter(prefix="/api/v1", tags=["flags"], responses=REFUSALS)
PartsOf = Annotated[Parts, Depends(parts_of)]

_SHOWN_CHARS = 500  # of a key or header
_MOST_SECONDS = 10.0  # also for a request that waits for others


@router.get(
    "/flags/{flag_id}/raw",
    summary="The input record of a flagged transaction",
    response_model=None,
    responses={
        200: {"model": RawModel},
        **problem_responses(
            s403="the record is not on INPUT_TOPIC",
            s404="no such flagged transaction",
            s410="Kafka no longer has the record",
            s503="Kafka does not answer",
        ),
    },
)
async def read_raw(request: Request, parts: PartsOf, flag_id: str) -> Response:
    """All fields that have a value, read from the input topic with each request.

    Viewers do not see the fields of DASHBOARD_MASKED_FIELDS: ``hidden`` names what is left out.
    """
    forbid_unknown(request, frozenset())
    source = orjson.loads(await run_sync(find_flag, parts, flag_id))["source"]
    where = source["topic"], source["partition"], source["offset"]
    if where[0] != parts.settings.input_topic:
        # The topic comes from the score record, so its producer could name any topic.
        raise Problem(
            403,
            "the input record is on another topic than INPUT_TOPIC, and this dashboard does not "
            "read it",
            kind="other-topic",
        )

    def call() -> dict[str, Any]:
        return _describe(parts, parts.inputs.records.read(*where))

    try:
        # In few threads of their own: pages must not wait for those that wait for Kafka.
        with anyio.fail_after(_MOST_SECONDS):
            described = await run_sync(call, limiter=parts.record_reads)
    except RecordGone as gone:
        raise Problem(
            410,
            f"the input record is not on Kafka any more: {gone}. The fields shown in the list "
            "are stored here",
            kind="record-gone",
            source=source,
        ) from None
    except (ScorerError, TimeoutError) as error:
        log.warning("cannot read the input record of %s: %s", flag_id[:300], error)
        raise Problem(
            503,
            "the input record cannot be read, because Kafka does not answer: try again",
            kind="kafka-unavailable",
            headers={"Retry-After": "5"},
        ) from None
    described, hidden = mask_of(request).mask_record(described)
    body = orjson.dumps({"source": source, **described, "hidden": hidden}, default=_shown)
    return Response(body, media_type="application/json")


def _describe(parts: Parts, record: InputRecord) -> dict[str, Any]:
    encoding, fields, problem = None, None, None
    try:
        found = decode_input(record, parts.inputs.resolver)
        orjson.dumps(found, default=_shown)  # it refuses depths that can be read
        encoding, fields = found
    except (ValueError, LookupError, TypeError) as error:
        problem = f"the record cannot be decoded: {str(error)[:_SHOWN_CHARS]}"
    return {
        "appended_at": record.appended_at,
        "size": len(record.value or b""),
        "key": _shown(record.key),
        "headers": [[name[:_SHOWN_CHARS], _shown(value)] for name, value in record.headers or ()],
        "encoding": encoding,
        "fields": fields,
        "problem": problem,
    }


def _shown(value: Any) -> str | None:
    """Bytes as text. Other bytes than UTF-8 are escaped."""
    if value is None:
        return None
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text[:_SHOWN_CHARS]
