"""The four Avro contracts: their schemas, fingerprints and the transaction's columns."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from fastavro.schema import fingerprint, to_parsing_canonical_form
from numpy.typing import NDArray

AvroSchema = Any  # the parsed JSON of an .avsc

ID: Final = "TransactionID"
TIME: Final = "TransactionDT"
AMOUNT: Final = "TransactionAmt"
EVENT_TIME: Final = "event_time"

MAX_AMOUNT: Final = 1e15
"""An amount beyond it, on either side of zero, counts as missing wherever amounts are added up or
sorted by: one such record would hide all others. A card's history remembers no larger one either.
A model sees every amount as it is."""

MAX_TIME_SECONDS: Final = 100 * 31_557_600
"""The largest plausible ``TransactionDT``: 100 years of 365.25 days. Seconds since 1970 stay below
it until 2070, and milliseconds since 1970 have been above it since February of that year."""


def is_amount(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which values count as amounts: not those that are missing or beyond ``MAX_AMOUNT``."""
    found: NDArray[np.bool_] = np.abs(values) <= MAX_AMOUNT
    return found


def time_fault(seconds: int) -> str | None:
    """Why a ``TransactionDT`` is implausible; None if it is not. Zero is the data set's origin."""
    if 0 <= seconds <= MAX_TIME_SECONDS:
        return None
    hint = "; write a date as event_time" if seconds < 0 else "; is it in milliseconds?"
    return (
        f"{TIME} is {seconds}, but it must be whole seconds since the data set's origin, "
        f"from 0 to {MAX_TIME_SECONDS} (100 years){hint}"
    )


@cache
def load_schema(name: str) -> AvroSchema:
    """A contract: ``transaction``, ``fraud_score``, ``fraud_label`` or ``audit_event``."""
    return json.loads((files("schemas") / f"{name}.avsc").read_text(encoding="utf-8"))


def canonical_form(schema: AvroSchema) -> str:
    """Parsing Canonical Form (Avro specification, "Parsing Canonical Form for Schemas")."""
    form: str = to_parsing_canonical_form(schema)
    return form


def schema_fingerprint(schema: AvroSchema) -> bytes:
    """CRC-64-AVRO of the canonical form: 8 bytes, little-endian, as on the wire."""
    return bytes.fromhex(fingerprint(canonical_form(schema), "CRC-64-AVRO"))


@cache
def known_schemas(name: str) -> dict[bytes, AvroSchema]:
    """Every published version of a contract, by fingerprint.

    Old versions stay in ``schemas/history`` as ``<name>-<anything>.avsc``, so that old records can
    still be read.
    """
    known = [load_schema(name)]
    history = files("schemas") / "history"
    if history.is_dir():
        known += [
            json.loads(entry.read_text(encoding="utf-8"))
            for entry in history.iterdir()
            if entry.name.startswith(f"{name}-") and entry.name.endswith(".avsc")
        ]
    return {schema_fingerprint(schema): schema for schema in known}


def _columns(avro_type: str) -> tuple[str, ...]:
    fields = load_schema("transaction")["fields"]
    return tuple(f["name"] for f in fields if f["type"] in (avro_type, ["null", avro_type]))


NUMBER_COLUMNS: Final = _columns("double")
"""Names of the transaction's double columns, in schema order (400)."""

TEXT_COLUMNS: Final = _columns("string")
"""Names of the transaction's string columns, in schema order (31)."""

NUMBER_INDEX: Final = {name: i for i, name in enumerate(NUMBER_COLUMNS)}
TEXT_INDEX: Final = {name: i for i, name in enumerate(TEXT_COLUMNS)}


def _context_columns() -> tuple[str, ...]:
    fields = load_schema("fraud_score")["fields"]
    record = next(field["type"][1] for field in fields if field["name"] == "context")
    return tuple(f["name"] for f in record["fields"])


CONTEXT_COLUMNS: Final = _context_columns()
"""The columns that the context of a flagged transaction's score shows."""

CONTEXT_NUMBERS: Final = tuple(name for name in CONTEXT_COLUMNS if name in NUMBER_INDEX)
"""The number columns among them."""

TRANSACTION_COLUMNS: Final = tuple(f["name"] for f in load_schema("transaction")["fields"])
"""All columns of a transaction in schema order, ``event_time`` last."""


def column_name(name: str) -> str:
    """The contract's name for a column name in input: ``id-01`` becomes ``id_01``."""
    return name.replace("-", "_", 1) if name.startswith("id-") else name
