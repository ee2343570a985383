"""Fuzzes the trainer's ingest with damaged CSV files: it reads rows or raises a clear error."""

from __future__ import annotations

import csv
import gzip
import io
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from schemas.errors import UnusableFileError
from stream_scorer.errors import UsageError
from stream_scorer.runtime.settings import StoreSettings
from tests.fuzz.mutations import errors_only, mutate
from tests.support.factories import make_transactions
from trainer.data.ingest import ingest
from trainer.data.source import CsvSource

_ROWS: Final = 30
_MAX_MESSAGE_CHARS: Final = 2000
_CELLS: Final = (
    "NA",
    " <NA> ",
    "2987000.0",
    "1796000000000",
    '"a\nb"',
    "",
    "NaN",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "x" * 200_000,
    '"',
    '""',
    "\x00",
    "é",
    "\ud800",
    "0x10",
    "9223372036854775808",
    "-1",
    "1.5",
    "1,5",
    "true",
    "1_000",
    " 7",
    "٣",
    "\ufeff",
    "=1+1",
)
_TAILS: Final = (b"", b"\n", b"\r\n", b"\r", b"\x1a", b"\x00" * 10, b"1,2\n", b'"', b"\xff\xff\n")


def fuzz_csv(files: int, seed: int) -> Iterator[dict[str, int]]:
    """Ingest ``files`` pairs of files; yields figures after each.

    Raises:
        AssertionError: a file gave neither rows nor a clear message; the error names the file.
    """
    rng = random.Random(seed)
    bases = [_table(rng, with_identity=False), _table(rng, with_identity=True)]
    read = 0
    with (
        errors_only("schemas", "trainer"),
        tempfile.TemporaryDirectory(prefix="fuzz-csv-") as folder,
    ):
        paths = [Path(folder) / "transactions.csv", Path(folder) / "identity.csv"]
        for number in range(files):
            contents = [_spoil(rng, base) if rng.random() < 0.8 else base for base in bases]
            for path, content in zip(paths, contents, strict=True):
                path.write_bytes(content)
            with_identity = rng.random() < 0.5
            try:
                read += _ingest(paths, with_identity=with_identity)
            except Exception as error:
                raise AssertionError(
                    f"seed {seed}, file {number}: {type(error).__name__}: {error}"
                ) from error
            yield {"files": number + 1, "read": read, "refused": number + 1 - read}


def _ingest(paths: list[Path], *, with_identity: bool) -> bool:
    """Whether the file was read; a refusal must be an error that the command line prints."""
    identity = str(paths[1]) if with_identity else None
    source = CsvSource(str(paths[0]), identity, StoreSettings())
    try:
        ingest(source, lambda _: None)
    except (UnusableFileError, UsageError) as error:
        text = str(error)
        assert any(path.name in text for path in paths), f"no file is named: {text!r}"
        assert len(text) < _MAX_MESSAGE_CHARS, f"{len(text)} characters: {text[:200]!r}"
        return False
    return True


def _table(rng: random.Random, *, with_identity: bool) -> bytes:
    """A valid file: transactions with labels, or the identities of some of them."""
    out = io.StringIO()
    rows: list[dict[str, Any]]
    if with_identity:
        ids = range(1, _ROWS, 3)
        rows = [{"TransactionID": i, "id-01": -5.0, "DeviceType": "mobile"} for i in ids]
    else:
        made = make_transactions(_ROWS)
        for row in made:
            for name in ("DeviceType", "id_02"):
                row.pop(name, None)
        rows = [row | {"isFraud": int(rng.random() < 0.3 or i == 0)} for i, row in enumerate(made)]
    names = sorted({name for row in rows for name in row})
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _spoil(rng: random.Random, content: bytes) -> bytes:
    drawn = rng.random()
    if drawn < 0.4:
        content = _spoil_cell(rng, content)
    elif drawn < 0.9:
        content = mutate(rng, content)
    if rng.random() < 0.1:
        content += rng.choice(_TAILS)
    if rng.random() < 0.05:
        content = content.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n")))
    if rng.random() < 0.15:
        content = gzip.compress(content, 1)
        if rng.random() < 0.7:
            content = mutate(rng, content)
    return content


def _spoil_cell(rng: random.Random, content: bytes) -> bytes:
    lines = content.decode().split("\r\n")
    for _ in range(rng.randint(1, 3)):
        number = rng.randrange(len(lines))
        cells = lines[number].split(",")
        at = rng.randrange(len(cells))
        drawn = rng.random()
        if drawn < 0.7:
            cells[at] = rng.choice(_CELLS)
        elif drawn < 0.8:
            del cells[at]
        else:
            cells.insert(at, rng.choice(_CELLS))
        lines[number] = ",".join(cells)
    return "\r\n".join(lines).encode("utf-8", "surrogatepass")
