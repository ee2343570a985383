"""Fuzzes what opens training files: archives, Parquet files and labels, damaged or made up.

Each is read or refused with an error that the command line prints, in bounded time.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from schemas.errors import UnusableFileError
from schemas.records import UndecodableRecord, encode_record
from stream_scorer.errors import UsageError
from stream_scorer.labels.topic import decode_label
from stream_scorer.runtime.settings import StoreSettings
from tests.fuzz.mutations import errors_only, mutate
from tests.support.factories import make_transactions
from trainer.data.ingest import ingest
from trainer.data.label_file import read_label_file
from trainer.data.source import CsvSource

MAX_SECONDS: Final = 20.0
"""For one small file, also on a busy machine."""

_ROWS: Final = 30
_MAX_MESSAGE_CHARS: Final = 2000
_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PAR1", b"\x1f\x8b\x08", b"{", b"<", b"\xff\xfe")
_LABEL: Final = {
    "transaction_id": 1,
    "label": "FRAUD",
    "origin": "ANALYST",
    "decided_by": "x",
    "decided_at": 1,
}


def fuzz_files(files: int, seed: int) -> Iterator[dict[str, int]]:
    """Read ``files`` files; yields figures after each.

    Raises:
        AssertionError: one gave neither rows nor a clear message, or took too long.
    """
    rng = random.Random(seed)
    targets = _targets(rng)
    read = 0
    with (
        errors_only("schemas", "trainer"),
        tempfile.TemporaryDirectory(prefix="fuzz-files-") as folder,
    ):
        path = Path(folder) / "fuzzed"
        for number in range(files):
            base, reader = rng.choice(targets)
            content = _spoil(rng, base)
            path.write_bytes(content)
            started = time.monotonic()
            try:
                read += _is_read(path, reader)
                seconds = time.monotonic() - started
                assert seconds < MAX_SECONDS, f"it took {seconds:.0f} s"
            except Exception as error:
                raise AssertionError(
                    f"seed {seed}, file {number}: {type(error).__name__}: {error}"
                ) from error
            yield {"files": number + 1, "read": read, "refused": number + 1 - read}


def _is_read(path: Path, reader: Callable[[Path], None]) -> bool:
    try:
        reader(path)
    except UndecodableRecord as error:
        text = str(error)
    except (UnusableFileError, UsageError) as error:
        text = str(error)
        assert path.name in text, f"no file is named: {text!r}"
    else:
        return True
    assert text
    assert len(text) < _MAX_MESSAGE_CHARS, f"{len(text)} characters: {text[:200]!r}"
    return False


def _read_rows(path: Path) -> None:
    ingest(CsvSource(str(path), None, StoreSettings()), lambda _: None)


def _read_both(path: Path) -> None:
    ingest(CsvSource(str(path), str(path), StoreSettings()), lambda _: None)


def _read_labels(path: Path) -> None:
    read_label_file(str(path), StoreSettings())


def _decode_label(path: Path) -> None:
    decode_label(path.read_bytes())


def _targets(rng: random.Random) -> list[tuple[bytes, Callable[[Path], None]]]:
    made = make_transactions(_ROWS)
    columns: dict[str, Any] = {
        name: [row.get(name) for row in made] for name in ("TransactionID", *made[0])
    }
    columns["isFraud"] = [int(i % 3 == 0) for i in range(_ROWS)]
    table = pa.table(columns)
    identity = pa.table({"TransactionID": columns["TransactionID"][::4], "id_01": [-5.0] * 8})
    times = [f"2026-01-{1 + i:02}T00:00:00Z" for i in range(_ROWS)]
    ids = columns["TransactionID"]
    labels = pa.table({"transaction_id": ids, "label": ["FRAUD"] * _ROWS, "decided_at": times})
    both = {"train_transaction.csv": _csv(table), "train_identity.csv": _csv(identity)}
    codec = rng.choice(("snappy", "none", "gzip"))
    return [
        (_zip(both), _read_both),
        (_zip(both, zipfile.ZIP_STORED), _read_both),
        (_parquet(table, codec), _read_rows),
        (_parquet(table, "none", use_dictionary=False), _read_rows),
        (_csv(labels), _read_labels),
        (_parquet(labels, codec), _read_labels),
        (_zip({"labels.csv": _csv(labels)}), _read_labels),
        (gzip.compress(_csv(labels)), _read_labels),
        (encode_record("fraud_label", _LABEL), _decode_label),
        (json.dumps(_LABEL).encode(), _decode_label),
    ]


def _csv(table: Any) -> bytes:
    out = io.StringIO()
    table.to_pandas().to_csv(out, index=False)
    return out.getvalue().encode()


def _parquet(table: Any, codec: str, *, use_dictionary: bool = True) -> bytes:
    out = io.BytesIO()
    parquet.write_table(
        table, out, compression=codec, use_dictionary=use_dictionary, row_group_size=12
    )
    return out.getvalue()


def _zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return out.getvalue()


def _spoil(rng: random.Random, content: bytes) -> bytes:
    drawn = rng.random()
    if drawn < 0.1:
        return content
    if drawn < 0.2:
        return rng.choice(_MAGICS) + rng.randbytes(rng.randint(0, 300))
    if drawn < 0.6:  # the directory of an archive and the footer of Parquet are at the end
        cut = rng.randint(0, min(len(content), 600))
        return content[: len(content) - cut] + mutate(rng, content[len(content) - cut :])
    return mutate(rng, content)
