"""Sources of training rows: CSV files or the generator."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from schemas.csv.codec import CsvChunk, read_transactions, table_chunks
from stream_scorer.runtime.s3 import open_stream
from stream_scorer.runtime.settings import StoreSettings
from trainer.synth import generate

Advance = Callable[[int], None]
"""Called with the number of bytes or rows just processed."""


class TrainingSource(Protocol):
    """Training rows, read once."""

    def size(self) -> int | None:
        """Total bytes or rows for the progress bar, if known."""
        ...

    def chunks(self, advance: Advance) -> Iterator[CsvChunk]:
        """The rows."""
        ...

    def facts(self) -> dict[str, Any]:
        """The source and its digest; complete once ``chunks`` is exhausted."""
        ...


@dataclass(slots=True)
class CsvSource:
    """IEEE-CIS CSVs from paths, ``file:///`` or ``s3://``, streamed."""

    transactions: str
    identity: str | None
    settings: StoreSettings
    _digests: dict[str, str] = field(default_factory=dict)

    def size(self) -> int | None:
        """Bytes of both files."""
        total = 0
        for uri in filter(None, (self.transactions, self.identity)):
            with open_stream(uri, self.settings) as stream:
                total += stream.seek(0, io.SEEK_END)
        return total

    def chunks(self, advance: Advance) -> Iterator[CsvChunk]:
        """The transactions, joined with their identities."""
        identity = None if self.identity is None else self._open(self.identity, advance)
        yield from read_transactions(self._open(self.transactions, advance), identity)

    def facts(self) -> dict[str, Any]:
        """The URI and sha256 of each file."""
        return {
            "source": self.transactions,
            "identity": self.identity,
            "sha256": {"transactions": self._digests.get(self.transactions)}
            | ({"identity": self._digests.get(self.identity)} if self.identity else {}),
        }

    def _open(self, uri: str, advance: Advance) -> BinaryIO:
        def finished(digest: str) -> None:
            self._digests[uri] = digest

        raw = open_stream(uri, self.settings)
        return io.BufferedReader(_Digested(uri, raw, advance, finished))


@dataclass(slots=True)
class SyntheticSource:
    """Rows from the generator."""

    rows: int
    seed: int
    _digest: str = ""

    def size(self) -> int | None:
        """The number of rows."""
        return self.rows

    def chunks(self, advance: Advance) -> Iterator[CsvChunk]:
        """The same rows as from the generator's CSV files."""
        tables = generate(self.rows, self.seed)
        transactions, identity = (
            pa.Table.from_pandas(table, preserve_index=False)
            for table in (tables.transactions, tables.identity)
        )
        del tables
        digest = hashlib.sha256()
        for chunk in table_chunks(transactions, identity):
            digest.update(chunk.batch.numbers.tobytes())
            yield chunk
            advance(len(chunk.batch))
        self._digest = digest.hexdigest()

    def facts(self) -> dict[str, Any]:
        """The size, the seed and a digest of the numbers."""
        return {
            "source": f"synthetic:{self.rows}:{self.seed}",
            "identity": None,
            "sha256": {"numbers": self._digest},
        }


class _Digested(io.RawIOBase):
    """Wraps a stream; counts and digests its bytes as they are read."""

    def __init__(
        self, name: str, raw: BinaryIO, advance: Advance, finished: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.name = name
        self._raw = raw
        self._advance = advance
        self._finished = finished
        self._digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._raw.read(len(buffer))
        buffer[: len(block)] = block
        self._digest.update(block)
        self._advance(len(block))
        if not block:
            self._finished(self._digest.hexdigest())
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
