"""Fuzzes decode: no crash, a result for every record, and no effect on other records."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from schemas.contracts import NUMBER_INDEX
from schemas.layout import Layout, number_cells
from schemas.transactions.codec import Decoded, TransactionDecoder
from tests.fuzz.records import GOOD, Mixed, RecordMaker, make_pool, make_resolver
from tests.support.wire import same

_NARROW_EVERY = 10  # batches; each such one is decoded once more
_LAYOUT = Layout(("V258", "C1", "D1"))
_ALONE = 4  # records of each batch that are decoded again by themselves


def fuzz_decode(records: int, seed: int, batch_records: int = 1000) -> Iterator[dict[str, int]]:
    """Decode ``records`` records; yields figures after each batch.

    Raises:
        AssertionError: a property fails; the error names the seed and the batch.
    """
    maker = RecordMaker(seed)
    decoder = TransactionDecoder(make_resolver())
    done = kept = batches = 0
    while done < records:
        mixed = maker.batch(min(batch_records, records - done))
        decoded = decoder.decode(mixed.values, mixed.headers)
        try:
            _check(mixed, decoded)
            _check_alone(mixed, decoded, batches)
            if batches % _NARROW_EVERY == 0:
                _check_narrow(mixed, decoded)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, batch {batches}: {error}") from error
        done += len(mixed.values)
        kept += len(decoded.kept)
        batches += 1
        yield {"records": done, "decoded": kept, "rejected": done - kept}


def _check(mixed: Mixed, decoded: Decoded) -> None:
    size = len(mixed.values)
    refused = [rejection.index for rejection in decoded.rejections]
    decided = sorted([*decoded.kept.tolist(), *refused])
    assert decided == list(range(size)), "a record has no outcome, or two"
    assert len(decoded.batch) == len(decoded.kept)
    assert all(len(rejection.reason) < 1000 for rejection in decoded.rejections)
    _check_columns(decoded)
    good = np.flatnonzero(mixed.good != GOOD)
    at = np.searchsorted(decoded.kept, good)
    here = np.isin(good, decoded.kept)
    assert here.all(), f"good record {good[~here][0]} was rejected beside its neighbours"
    expected = make_pool().decoded.take(mixed.good[good])
    assert same(decoded.batch.take(at), expected), "a good record decodes otherwise than alone"


def _check_narrow(mixed: Mixed, decoded: Decoded) -> None:
    """What a model reads must not decide which records are accepted."""
    narrow = TransactionDecoder(make_resolver()).decode(mixed.values, mixed.headers, _LAYOUT)
    assert narrow.rejections == decoded.rejections, "rejected because of the columns that are kept"
    assert np.array_equal(narrow.kept, decoded.kept)
    columns = [NUMBER_INDEX[name] for name in _LAYOUT.columns]
    kept = narrow.batch.numbers[:, number_cells(narrow.batch.layout, columns)]
    whole = decoded.batch.numbers[:, columns]
    assert np.array_equal(kept.view(np.uint64), whole.view(np.uint64)), "a kept column differs"


def _check_columns(decoded: Decoded) -> None:
    batch = decoded.batch
    assert not np.isinf(batch.numbers).any(), "infinity got through"
    has = batch.lengths >= 0
    ends = batch.starts + batch.lengths
    assert (batch.starts[has] >= 0).all(), "a string begins before the bytes"
    assert (ends[has] <= len(batch.text)).all(), "a string ends behind the bytes"
    for row, column in zip(*np.nonzero(has), strict=True):
        batch.string(int(row), int(column))  # UTF-8, or this raises


def _check_alone(mixed: Mixed, decoded: Decoded, turn: int) -> None:
    """Decode a few records alone: they must give the same result as in the batch."""
    places = {int(index): place for place, index in enumerate(decoded.kept)}
    reasons = {r.index: (r.stage, r.reason, r.field) for r in decoded.rejections}
    step = max(1, len(mixed.values) // _ALONE)
    for index in range(turn % step, len(mixed.values), step):
        alone = TransactionDecoder(make_resolver()).decode(
            [mixed.values[index]], [mixed.headers[index]]
        )
        if alone.rejections:
            (found,) = alone.rejections
            told = (found.stage, found.reason, found.field)
            assert reasons.get(index) == told, f"record {index}: {told} alone"
        else:
            assert index in places, f"record {index} is good alone"
            row = places[index]
            assert same(decoded.batch.take(slice(row, row + 1)), alone.batch), f"record {index}"
