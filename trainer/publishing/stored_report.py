"""Adds the evaluation report to the files of a version that is about to be published."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from stream_scorer.errors import UsageError
from stream_scorer.model.store.names import METADATA, REPORT, REPORT_MAX_BYTES
from stream_scorer.model.versions.reports import describe_report
from trainer.report import build_page

log = logging.getLogger(__name__)

LATER: Final = "to write it to a file: fraud-trainer report {}"


def add_report(
    files: Mapping[str, bytes],
    version: str,
    build: Callable[[Mapping[str, Any]], str] = build_page,
) -> dict[str, bytes]:
    """The files of ``version`` with its report, which its metadata then names.

    The version is published without a report if the report cannot be built or is too large: a
    training of hours must not be lost for a page.
    """
    metadata = json.loads(files[METADATA])
    try:
        page = build(metadata).encode()
    except (UsageError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        log.warning("%s is published without its report: %s; %s", version, error, _later(version))
        return dict(files)
    if len(page) > REPORT_MAX_BYTES:
        log.warning(
            "%s is published without its report, which has %d bytes; the limit is %d; %s",
            version, len(page), REPORT_MAX_BYTES, _later(version),
        )  # fmt: skip
        return dict(files)
    metadata["files"][REPORT] = describe_report(page, version).as_json()
    return {**files, REPORT: page, METADATA: json.dumps(metadata, indent=1).encode()}


def _later(version: str) -> str:
    return LATER.format(version)
