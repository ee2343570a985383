"""Labels from a file: CSV, gzip, zip or Parquet, such as a month's chargebacks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import pyarrow as pa

from schemas.contracts import ID
from schemas.csv.header import SHOWN_CHARS
from schemas.csv.identity import refuse_null
from schemas.csv.layout import ANY_AS_TEXT, LABEL, FileFacts, Layout
from schemas.csv.rows import FileRows
from schemas.csv.source import read_rows
from schemas.errors import UnusableFileError
from stream_scorer.labels.labels import ORIGINS, UNKNOWN_ORIGIN, VALUES, Labels, build_labels
from stream_scorer.runtime.settings import StoreSettings
from trainer.data.files import DigestedFiles

_ID: Final = "transaction_id"
_VALUE: Final = "label"
_TIME: Final = "decided_at"
_ORIGIN: Final = "origin"
_NAMES: Final = {ID: _ID, LABEL: _VALUE}
_TYPES: Final = {_ID: pa.int64(), _VALUE: ANY_AS_TEXT, _TIME: ANY_AS_TEXT, _ORIGIN: ANY_AS_TEXT}
_WORDS: Final = {
    **VALUES,
    **dict.fromkeys(("1", "1.0", "TRUE"), VALUES["FRAUD"]),
    **dict.fromkeys(("0", "0.0", "FALSE"), VALUES["LEGITIMATE"]),
}
_NO_TIME: Final = np.iinfo(np.int64).min  # older than any

_LAYOUT: Final = Layout(
    "label",
    (_ID, _VALUE),
    tuple(_TYPES),
    rename=lambda name: _NAMES.get(name, name),
    type_of=_TYPES.get,
)


def read_label_file(uri: str, settings: StoreSettings | None = None) -> Labels:
    """The labels of a file.

    Columns: ``transaction_id`` or ``TransactionID``; ``label`` (FRAUD, LEGITIMATE or UNSURE, or 1
    and 0) or ``isFraud``; optionally ``decided_at`` (ISO 8601, UTC if there is no offset, or epoch
    milliseconds) and ``origin``. Without ``decided_at`` the last row of a transaction stands.

    Raises:
        UsageError: the file cannot be read.
        UnusableFileError: it is invalid; the message gives file, line, column and value.
    """
    facts = FileFacts()
    ids, values, origins, times = ([np.empty(0, t)] for t in (np.int64, np.int8, np.int8, np.int64))
    with DigestedFiles(settings, lambda _: None) as files:
        for rows in read_rows(files.open(uri), _LAYOUT, facts):
            for column in _LAYOUT.required:
                refuse_null(rows, column)
            ids.append(rows.batch.column(_ID).to_numpy(zero_copy_only=False))
            values.append(_column(rows, _VALUE, _value, np.int8))
            origins.append(_column(rows, _ORIGIN, _origin, np.int8, UNKNOWN_ORIGIN))
            times.append(_column(rows, _TIME, _milliseconds, np.int64, _NO_TIME))
        files.check_unchanged()
    return build_labels(
        np.concatenate(ids),
        np.concatenate(values),
        np.concatenate(origins),
        np.concatenate(times),
        {"source": uri, "sha256": files.digests.get(uri), "format": facts.format},
    )


def _column(
    rows: FileRows, column: str, parse: Callable[[str], int], kind: Any, absent: int = 0
) -> Any:
    """A column of texts as integers; ``absent`` where there is none."""
    if column not in rows.batch.schema.names:
        return np.full(len(rows.batch), absent, kind)
    texts = rows.batch.column(column).to_pylist()
    found = np.full(len(texts), absent, kind)
    for row, text in enumerate(texts):
        if text is None:
            continue
        try:
            found[row] = parse(text)
        except ValueError as error:
            raise UnusableFileError(
                f"{rows.at(row, column)}: {text[:SHOWN_CHARS]!r} is not {error}"
            ) from None
    return found


def _value(text: str) -> int:
    try:
        return _WORDS[text.upper()]
    except KeyError:
        raise ValueError("FRAUD, LEGITIMATE or UNSURE, nor 1 or 0") from None


def _origin(text: str) -> int:
    try:
        return ORIGINS.index(text.upper())
    except ValueError:
        raise ValueError(f"one of {', '.join(ORIGINS)}") from None


def _milliseconds(text: str) -> int:
    """A point in time in epoch milliseconds."""
    try:
        if text.lstrip("-").isdecimal() and len(text) > len("20260131"):
            return int(np.int64(int(text)))
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError(
            "a time: write ISO 8601, such as 2026-01-31T09:30:00Z, or epoch milliseconds"
        ) from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return int(when.timestamp() * 1000)
