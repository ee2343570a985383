"""What a bundle says about card history: the spec, the seed, and transactions that prove it.

The golden stream is a few transactions in order, with the features that each of them had where the
model was trained. A loader replays it through its own code: a machine, a library or a release that
computes one bit otherwise must not score with the model, because its histories and its scores would
differ from those of the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.json.codec import decode_objects
from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.features.history.header import KEYS_END, SHA256, STORED_MAX_BYTES, TIMES_END
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HISTORY_VERSION, HistorySpec
from stream_scorer.model.store.names import METADATA
from stream_scorer.runtime.json_limits import shown

MAX_ROWS: Final = 64
"""Of a golden stream."""

_LIBRARIES: Final = ("numba", "numpy")
"""What the compiled loops are made with."""

_WAY_OUT: Final = (
    "serve this version with the release and the image that it was trained with, or train it again "
    "with this one"
)


@dataclass(frozen=True, slots=True)
class SeedFacts:
    """The seed of a version: the card histories at the end of its training rows.

    Attributes:
        sha256: its name in the store.
        bytes: its size there.
        as_of: the last ``TransactionDT`` that it contains.
        keys: by key space.
    """

    sha256: str
    bytes: int
    as_of: int
    keys: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HistoryDraft:
    """The card history of a version before it is published.

    Attributes:
        stream: the transactions of the golden stream, in order, with every column.
        seed: None where none is published.
    """

    stream: TransactionBatch
    seed: SeedFacts | None = None


def history_facts(spec: HistorySpec, draft: HistoryDraft) -> dict[str, Any]:
    """The metadata's part about card history.

    Raises:
        ValueError: the golden stream is empty or too long.
    """
    stream = draft.stream
    if not 0 < len(stream) <= MAX_ROWS:
        raise ValueError(f"a golden stream has 1 to {MAX_ROWS} transactions, not {len(stream)}")
    values, check_sum = _replay(spec, stream)
    return {
        "spec": spec.plain(),
        "fingerprint": spec.fingerprint,
        "version": HISTORY_VERSION,
        "seed": None if draft.seed is None else asdict(draft.seed),
        "stream": {
            "rows": plain_rows(stream),
            "features": plain_values(values),
            "check_sum": check_sum,
        },
    }


def read_seed_facts(metadata: Mapping[str, Any]) -> SeedFacts | None:
    """The seed that a version's metadata names; None if it names none.

    Raises:
        ArtifactCorrupt: the metadata cannot be understood.
    """
    history = metadata.get("history")
    given = history.get("seed") if isinstance(history, Mapping) else None
    if given is None:
        return None
    try:
        sha256, keys = given["sha256"], dict(given["keys"])
        numbers = (given["bytes"], given["as_of"], *keys.values())
        limits = (STORED_MAX_BYTES, TIMES_END, *[KEYS_END] * len(keys))
    except (LookupError, TypeError, ValueError) as error:
        raise ArtifactCorrupt(f"{METADATA}: the seed cannot be read: {shown(error)}") from error
    is_valid = (
        isinstance(sha256, str)
        and SHA256.fullmatch(sha256)
        and all(type(n) is int and 0 <= n <= most for n, most in zip(numbers, limits, strict=True))
        and all(isinstance(name, str) for name in keys)
    )
    if not is_valid:
        raise ArtifactCorrupt(f"{METADATA} names no usable seed: {shown(repr(given))}")
    return SeedFacts(sha256, given["bytes"], given["as_of"], keys)


def check_history(metadata: Mapping[str, Any], spec: HistorySpec) -> None:
    """Check that the metadata is of this spec, and that this machine computes it alike.

    Raises:
        ArtifactCorrupt: the metadata is of another spec, or cannot be read.
        ArtifactIncompatible: the golden stream has other features here.
    """
    facts = metadata.get("history")
    if not isinstance(facts, dict) or facts.get("fingerprint") != spec.fingerprint:
        raise ArtifactCorrupt(f"{METADATA} has another card history than the features")
    read_seed_facts(metadata)
    try:
        stream = facts["stream"]
        batch = read_rows(stream["rows"], "the golden stream")
        expected = read_values(stream["features"], len(batch), spec)
        check_sum = stream["check_sum"]
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise ArtifactCorrupt(f"cannot read the golden stream: {shown(repr(error))}") from error
    values, found_sum = _replay(spec, batch)
    differs = values.view(np.uint64) != expected.values.view(np.uint64)
    if differs.any():
        row, column = (int(place) for place in np.argwhere(differs)[0])
        what = (
            f"{spec.names[column]} of transaction {row + 1} of the golden stream is "
            f"{_number(values[row, column])} here and was {_number(expected.values[row, column])} "
            "in training"
        )
    elif check_sum != found_sum:
        what = (
            f"the state after the golden stream has check sum {found_sum} here and had "
            f"{shown(check_sum)} in training"
        )
    else:
        return
    raise ArtifactIncompatible(
        f"this machine computes card history otherwise: {what}{_libraries(metadata)}; {_WAY_OUT}"
    )


def plain_rows(batch: TransactionBatch) -> list[dict[str, Any]]:
    """Transactions as JSON objects without their missing columns."""
    rows = (batch.row(i) for i in range(len(batch)))
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def read_rows(rows: Any, what: str) -> TransactionBatch:
    """The transactions of :func:`plain_rows`, at most ``MAX_ROWS``.

    Raises:
        ValueError: they are none, too many, or not valid.
    """
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_ROWS:
        raise ValueError(f"{what} does not have 1 to {MAX_ROWS} transactions")
    decoded = decode_objects(rows, strict=True)
    if decoded.rejections:
        raise ValueError(f"{what}: {decoded.rejections[0].reason}")
    return decoded.batch


def plain_values(values: NDArray[np.float64]) -> list[list[float | None]]:
    """History features for JSON, which has no NaN; every other bit is kept."""
    return [[None if v != v else v for v in row] for row in values.tolist()]


def read_values(given: Any, rows: int, spec: HistorySpec) -> HistoryColumns:
    """The inverse of :func:`plain_values`.

    Raises:
        ValueError: there are not this number of rows with the features of ``spec``.
    """
    if not isinstance(given, list) or len(given) != rows:
        raise ValueError(f"history features are not those of {rows} transactions")
    values = np.full((rows, len(spec.names)), np.nan)
    for row, cells in enumerate(given):
        if not isinstance(cells, list) or len(cells) != len(spec.names):
            raise ValueError(f"a transaction does not have {len(spec.names)} history features")
        for column, cell in enumerate(cells):
            if cell is None:
                continue
            if type(cell) not in (float, int) or not math.isfinite(cell):
                raise ValueError(f"history feature {shown(cell)} is not a number")
            values[row, column] = cell
    return HistoryColumns(spec.fingerprint, values)


def _replay(spec: HistorySpec, stream: TransactionBatch) -> tuple[NDArray[np.float64], str]:
    """The features of each transaction, and the check sum of the state after the last."""
    history = PartitionHistory(spec)
    values = np.empty((len(stream), len(spec.names)))
    rows, advances = np.arange(len(stream), dtype=np.int64), np.ones(len(stream), np.bool_)
    history.settle(history.step(stream, rows, advances, values))
    return values, f"{history.check_sum():016x}"


def _number(value: float) -> str:
    return "no value" if value != value else repr(float(value))


def _libraries(metadata: Mapping[str, Any]) -> str:
    """The libraries that differ from those of the training, as the rest of a sentence."""
    given = metadata.get("libraries")
    made_with: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    return "".join(
        f"; {name} was {shown(made_with.get(name))} and is {here}"
        for name in _LIBRARIES
        if (here := _installed(name)) != made_with.get(name)
    )


def _installed(name: str) -> str | None:
    try:
        return package_version(name)
    except PackageNotFoundError:
        return None
