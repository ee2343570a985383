"""Sources of training rows: files or the generator."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import pyarrow as pa

from schemas.contracts import EVENT_TIME, ID, TRANSACTION_COLUMNS
from schemas.csv.codec import CsvChunk, ReadFacts, read_transactions, table_chunks
from schemas.csv.identity import IdentityTable
from schemas.csv.layout import FileFacts
from stream_scorer.errors import UsageError
from stream_scorer.runtime.settings import StoreSettings
from trainer.data.files import Advance, DigestedFiles, file_size
from trainer.data.labels import Labelling
from trainer.data.names import shorten_names
from trainer.synth import generate

log = logging.getLogger(__name__)

FEW_WITH_IDENTITY: Final = 0.1
"""A smaller share of transactions with an identity is warned about; the competition's is 0.24."""


class TrainingSource(Protocol):
    """Training rows, read once."""

    @property
    def labelling(self) -> Labelling:
        """Where labels other than ``isFraud`` come from."""
        ...

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
    """IEEE-CIS files from paths, ``file:///`` or ``s3://``: CSV, gzip, zip or Parquet."""

    transactions: str
    identity: str | None
    settings: StoreSettings
    labelling: Labelling = field(default_factory=Labelling)
    _digests: dict[str, str] = field(default_factory=dict)
    _read: ReadFacts = field(default_factory=ReadFacts)

    def size(self) -> int | None:
        """Bytes of both files; None if one is a pipe."""
        uris = filter(None, (self.transactions, self.identity))
        sizes = [file_size(uri, self.settings) for uri in uris]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None

    def chunks(self, advance: Advance) -> Iterator[CsvChunk]:
        """The transactions, joined with their identities.

        Raises:
            UsageError: a file cannot be read, or no identity row belongs to a transaction.
            UnusableFileError: a file is invalid.
        """
        with DigestedFiles(self.settings, advance) as files:
            identity = None if self.identity is None else files.open(self.identity)
            transactions = files.open(self.transactions)
            rows, first_id = 0, None
            for chunk in read_transactions(transactions, identity, facts=self._read):
                if first_id is None:
                    self._log_columns()
                    first_id = int(chunk.batch.ids[0])
                rows += len(chunk.batch)
                yield chunk
            files.check_unchanged()
            self._digests = files.digests
        if self._read.table is not None:
            self._check_identity(self._read.table, rows, first_id)

    def facts(self) -> dict[str, Any]:
        """The URI, sha256, format and columns of each file, and the identity rows that matched."""
        named = {"transactions": (self.transactions, self._read.transactions)}
        if self.identity:
            named["identity"] = (self.identity, self._read.identity)
        facts: dict[str, Any] = {
            "source": self.transactions,
            "identity": self.identity,
            "sha256": {kind: self._digests.get(uri) for kind, (uri, _) in named.items()},
            "files": {kind: _file_facts(found) for kind, (_, found) in named.items()},
            "missing_columns": self._missing(),
        }
        if (table := self._read.table) is not None:
            facts["identity_match"] = {
                "transactions": table.joined,
                "identity_rows": len(table),
                "identity_rows_matched": int(table.is_matched.sum()),
            }
        return facts

    def _missing(self) -> list[str]:
        found = {*self._read.transactions.columns, *self._read.identity.columns, EVENT_TIME}
        return [name for name in TRANSACTION_COLUMNS if name not in found]

    def _log_columns(self) -> None:
        if missing := self._missing():
            without = "" if self.identity else " (there is no identity file)"
            log.warning(
                "%s: %d columns are missing and count as empty in every row%s: %s",
                self.transactions, len(missing), without, shorten_names(missing),
            )  # fmt: skip
        rounded = [*self._read.transactions.rounded, *self._read.identity.rounded]
        if rounded:
            log.warning(
                "%s: %d columns are stored with fewer than 64 bits, so their values can differ "
                "from those in the stream: %s",
                self.transactions, len(rounded), shorten_names(rounded),
            )  # fmt: skip

    def _check_identity(self, table: IdentityTable, rows: int, first_id: int | None) -> None:
        if not table.joined:
            known = f"begins at {ID} {table.first_id}" if len(table) else "has no rows"
            raise UsageError(
                f"{self.identity}: no row belongs to a transaction of {self.transactions} (it "
                f"{known}, the transactions at {first_id}): is it the identity file of other "
                "transactions? Leave --identity out to train without one"
            )
        matched = int(table.is_matched.sum())
        share = table.joined / rows
        log.info(
            "%s: %d of %d transactions (%.1f %%) have an identity; %d of %d identity rows matched",
            self.identity, table.joined, rows, share * 100, matched, len(table),
        )  # fmt: skip
        if share < FEW_WITH_IDENTITY:
            log.warning(
                "%s: only %.1f %% of the transactions have an identity; about a quarter is usual",
                self.identity, share * 100,
            )  # fmt: skip


def _file_facts(found: FileFacts) -> dict[str, Any]:
    facts: dict[str, Any] = {"format": found.format, "unknown_columns": found.unknown}
    if found.member is not None:
        facts["member"] = found.member
    if found.rounded:
        facts["rounded_columns"] = found.rounded
    return facts


@dataclass(slots=True)
class SyntheticSource:
    """Rows from the generator."""

    rows: int
    seed: int
    labelling: Labelling = field(default_factory=Labelling)
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
