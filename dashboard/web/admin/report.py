"""``/model/{version}/report``: the evaluation report of a version, for a frame of the model page.

The report is a page from the store. It gets no rights: its policy lets it load nothing and run
nothing, and the sandbox gives it an origin of its own, also where it is opened by itself.
"""

from __future__ import annotations

import logging
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from dashboard.models.catalog import StoredReport
from dashboard.web.admin.model_view import SECONDS, STORE, unreadable
from dashboard.web.admin.waiting import wait_for
from dashboard.web.headers import REPORT_HEADERS
from dashboard.web.listing import forbid_unknown
from dashboard.web.parts import Parts, parts_of
from dashboard.web.problems import Problem
from stream_scorer.errors import ArtifactCorrupt, ScorerError, StoreError
from stream_scorer.model.store.names import is_version
from stream_scorer.model.versions.listing import UnknownVersion

log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False)
PartsOf = Annotated[Parts, Depends(parts_of)]

_DOWNLOAD: Final = "download"


@router.get("/model/{version}/report", response_model=None)
async def report(request: Request, parts: PartsOf, version: str) -> Response:
    """The report as it was published; with ``download=yes`` as a file."""
    forbid_unknown(request, frozenset({_DOWNLOAD}))
    found = await _read(parts, version)
    headers = dict(REPORT_HEADERS)
    if request.query_params.get(_DOWNLOAD):
        name = f"report-{found.facts.version}.html"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return HTMLResponse(found.content, headers=headers)


async def _read(parts: Parts, version: str) -> StoredReport:
    """The report of a version.

    Raises:
        Problem: 404 for an unknown version or one without a report, 422 if the report is not the
            published one, 503 if the store does not answer.
    """
    if not is_version(version):
        raise Problem(404, f"{version[:40]!r} is not a version such as v3")
    try:
        found = await wait_for(parts, lambda: parts.catalog.report(version), SECONDS, STORE)
    except UnknownVersion as error:
        raise Problem(404, str(error)) from None
    except StoreError as error:
        raise unreadable(error) from None
    except ArtifactCorrupt as error:
        log.warning("a report is not shown: %s", error)
        raise Problem(
            422,
            f"the report of {version} in the store is not the one that was published, so it is not "
            f"shown. fraud-trainer report {version} makes it again from the metadata",
            kind="corrupt-report",
        ) from None
    except ScorerError as error:
        raise Problem(422, str(error), kind="unreadable-version") from None
    if found is None:
        raise Problem(
            404,
            f"{version} was published without a report. fraud-trainer report {version} makes it "
            "from the metadata",
            kind="no-report",
        )
    return found
