"""A Parquet file as the same rows as a CSV: each column's type is checked, then made ours.

The file is read in pieces of a few thousand rows, whatever its row groups are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from schemas.contracts import EVENT_TIME
from schemas.csv.cells import clean_text, first_unreadable, to_wholes
from schemas.csv.header import SHOWN_CHARS, check_header
from schemas.csv.layout import ANY_AS_TEXT, FileFacts, Layout
from schemas.csv.rows import FileRows
from schemas.errors import UnusableFileError

BATCH_ROWS: Final = 8192
MAX_TEXT_BYTES: Final = 64 * 1024 * 1024
"""All texts of one column in one batch: 8 kB for each row. A dictionary can hold one long text for
thousands of rows in a few bytes."""

_BUFFER_BYTES: Final = 64 * 1024
"""Read ahead for each column; without it, whole columns of a row group are read at once."""

_MAX_SCHEMA_ITEMS: Final = 1_000_000  # of the footer: 434 columns in some 500 row groups
_MAX_SCHEMA_TEXT_BYTES: Final = 16 * 1024 * 1024
_WANTED: Final = {
    "int64": "an integer",
    "double": "a number",
    "string": "text",
    "large_string": "text",
}
_FAULTS: Final = (pa.ArrowException, OSError, MemoryError, ValueError, KeyError, OverflowError)


def read_parquet(
    stream: BinaryIO, name: str, layout: Layout, facts: FileFacts
) -> Iterator[FileRows]:
    """The rows of a Parquet file, as :func:`schemas.csv.source.read_rows`.

    Raises:
        UnusableFileError: the file is damaged, lacks a column, or has a column or a value that does
            not fit.
    """
    source = pa.PythonFile(stream, mode="r")
    try:
        schema = _open(source).schema_arrow
    except _FAULTS as error:
        raise UnusableFileError(f"{name}: damaged Parquet file: {_reason(error)}") from error
    check_header(schema.names, name, name, layout, facts)
    columns = [n for n in schema.names if layout.rename(n) in facts.columns]
    for column in columns:
        _check_type(schema.field(column).type, column, name, layout, facts)
    texts = [n for n in columns if _is_text(_plain(schema.field(n).type))]
    for batch, first_row in _batches(source, name, columns, texts):
        rows = FileRows(batch, name, first_row, lambda row: row + 1, "row")
        found = {layout.rename(c): _convert(rows, c, layout) for c in columns}
        yield FileRows(pa.RecordBatch.from_pydict(found), name, first_row, rows.number_of, "row")


def _open(source: Any, **options: Any) -> Any:
    return parquet.ParquetFile(
        source,
        buffer_size=_BUFFER_BYTES,
        thrift_string_size_limit=_MAX_SCHEMA_TEXT_BYTES,
        thrift_container_size_limit=_MAX_SCHEMA_ITEMS,
        **options,
    )


def _batches(
    source: Any, name: str, columns: list[str], texts: list[str]
) -> Iterator[tuple[Any, int]]:
    """Batches with the number of their first row; texts as dictionaries, as they are stored."""
    row = 0
    try:
        file = _open(source, read_dictionary=texts)
        for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
            batch.validate(full=True)
            if len(batch):
                yield batch, row
                row += len(batch)
    except _FAULTS as error:
        raise UnusableFileError(
            f"{name}, after row {row}: damaged Parquet file: {_reason(error)}"
        ) from error


def _check_type(kind: Any, column: str, name: str, layout: Layout, facts: FileFacts) -> None:
    """Refuse a column of a type that cannot hold what the column must hold."""
    wanted = layout.type_of(layout.rename(column))
    plain = _plain(kind)
    is_number = pa.types.is_integer(plain) or pa.types.is_floating(plain)
    is_good = (
        pa.types.is_null(plain)
        or _is_text(plain)
        or is_number  # a text column may be numbers if they are all missing
        or (wanted == pa.float64() and (pa.types.is_boolean(plain) or pa.types.is_decimal(plain)))
        or (layout.rename(column) == EVENT_TIME and pa.types.is_timestamp(plain))
        or (wanted == ANY_AS_TEXT and (pa.types.is_boolean(plain) or pa.types.is_temporal(plain)))
    )
    if not is_good:
        raise UnusableFileError(
            f"{name}, column {column}: stored as {str(kind)[:SHOWN_CHARS]}, which is not "
            f"{_WANTED[str(wanted)]}: convert the column before you write the file"
        )
    if wanted == pa.float64() and plain in (pa.float16(), pa.float32()):
        facts.rounded.append(layout.rename(column))


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_text(kind: Any) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)  # text, if the writer did not say so
        or pa.types.is_large_binary(kind)
    )


def _convert(rows: FileRows, column: str, layout: Layout) -> Any:
    """One column as the type it must have."""
    wanted = layout.type_of(layout.rename(column))
    cells = rows.batch.column(column)
    if pa.types.is_dictionary(cells.type):
        _refuse_long_texts(cells, rows, column)
        cells = cells.dictionary_decode()
    kind = cells.type
    if pa.types.is_null(kind):
        return pa.nulls(len(cells), pa.string() if wanted == ANY_AS_TEXT else wanted)
    if wanted == ANY_AS_TEXT:
        cells = _apply(lambda c: pc.cast(c, pa.string()), cells, rows, column, "UTF-8 text")
        return clean_text(cells)
    if _is_text(kind):
        cells = _apply(lambda c: pc.cast(c, pa.string()), cells, rows, column, "UTF-8 text")
        how = {"int64": to_wholes, "double": _text_to_numbers, "string": clean_text}[str(wanted)]
        return _apply(how, cells, rows, column, _WANTED[str(wanted)])
    if wanted == pa.string():
        return _missing_texts(cells, rows, column)
    if wanted == pa.float64():
        return _without_nan(pc.cast(cells, pa.float64(), safe=False))
    if pa.types.is_timestamp(kind):
        return pc.cast(pc.cast(cells, pa.timestamp("ms"), safe=False), pa.int64())
    if pa.types.is_floating(kind):
        cells = _without_nan(pc.cast(cells, pa.float64()))
    return _apply(lambda c: pc.cast(c, pa.int64()), cells, rows, column, "an integer")


def _without_nan(cells: Any) -> Any:
    """Doubles with null for NaN: both mean missing, and null is what is looked for."""
    return pc.if_else(pc.is_nan(cells), pa.scalar(None, pa.float64()), cells)


def _text_to_numbers(cells: Any) -> Any:
    return pc.cast(clean_text(cells), pa.float64())


def _apply(
    convert: Callable[[Any], Any], cells: Any, rows: FileRows, column: str, wanted: str
) -> Any:
    try:
        return convert(cells)
    except pa.ArrowInvalid:
        row, value = first_unreadable(cells, convert)
        shown = value if isinstance(value, bytes) else str(value)
        raise UnusableFileError(
            f"{rows.at(row, column)}: {shown[:SHOWN_CHARS]!r} is not {wanted}"
        ) from None


def _missing_texts(cells: Any, rows: FileRows, column: str) -> Any:
    """A text column without a single value, which pandas stores as numbers."""
    is_there = pc.is_valid(cells)
    if pa.types.is_floating(cells.type):
        is_there = pc.and_(is_there, pc.invert(pc.fill_null(pc.is_nan(cells), False)))
    found = is_there.to_numpy(zero_copy_only=False)
    if found.any():
        row = int(np.argmax(found))
        raise UnusableFileError(
            f"{rows.at(row, column)}: the number {cells[row].as_py()} where the column holds text: "
            "codes cannot be turned back into texts, so write the original column"
        )
    return pa.nulls(len(cells), pa.string())


def _refuse_long_texts(cells: Any, rows: FileRows, column: str) -> None:
    lengths = pc.fill_null(pc.binary_length(cells.dictionary), 0)
    each = pc.fill_null(lengths.take(cells.indices), 0).to_numpy(zero_copy_only=False)
    if each.sum(dtype=np.int64) > MAX_TEXT_BYTES:
        row = int(np.argmax(each))
        raise UnusableFileError(
            f"{rows.at(row, column)}: a text of {each[row]:,} bytes is too long"
        )


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:200]
