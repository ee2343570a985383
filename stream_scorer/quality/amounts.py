"""Amounts and products of missed fraud, from the inputs: what is not flagged states neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from schemas.contracts import AMOUNT, NUMBER_INDEX, TEXT_INDEX
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.kafka.messages import by_partition
from stream_scorer.kafka.reader import committed_spans, read_spans
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.kafka.topics import require_topics
from stream_scorer.quality.counts import QualityCounts
from stream_scorer.quality.reader import MAX_PRODUCT_CHARS
from stream_scorer.quality.rows import NO_PRODUCT, Flags, LabelledRows
from stream_scorer.runtime.registry import using_resolver
from stream_scorer.settings import GroupSettings

MAX_READ: Final = 2_000
"""Each may cost a request of some milliseconds, if it is far from all others."""

_NEAR_OFFSETS: Final = 2_000
"""Records this close are read in one go: that is faster than to seek again."""

Place = tuple[int, int]


class Stated(NamedTuple):
    """What an input states: its amount, and its product if it has one."""

    amount: float
    product: str | None


ReadAmounts = Callable[[list[Place]], Mapping[Place, Stated]]
"""Partition and offset of inputs → what those state that can be read."""


def fill_amounts(counts: QualityCounts, read: ReadAmounts) -> int:
    """Fill in amount and product of missed frauds, as many as are read; returns how many.

    If there are more than ``MAX_READ``, those of the others stay unknown.
    """
    missing = [(rows, _is_incomplete(rows)) for rows in _labelled(counts)]
    wanted = [place for rows, needs in missing for place in _places(rows, needs)]
    if not wanted:
        return 0
    found = read(wanted[:MAX_READ])
    filled = 0
    for rows, needs in missing:
        for row in np.flatnonzero(needs).tolist():
            stated = found.get((int(rows.partitions[row]), int(rows.offsets[row])))
            if stated is not None:
                rows.amounts[row] = stated.amount
                rows.products[row] = (
                    NO_PRODUCT if stated.product is None else counts.product_code(stated.product)
                )
                filled += 1
    return filled


def _labelled(counts: QualityCounts) -> Iterator[LabelledRows]:
    for version in counts.versions.values():
        yield version.labelled


def _is_incomplete(rows: LabelledRows) -> Flags:
    is_unknown = np.isnan(rows.amounts) | (rows.products == -1)
    found: Flags = rows.is_fraud & is_unknown & (rows.partitions >= 0)
    return found


def _places(rows: LabelledRows, needs: Flags) -> list[Place]:
    return list(zip(rows.partitions[needs].tolist(), rows.offsets[needs].tolist(), strict=True))


def plan_rounds(places: list[Place], spans: Spans) -> Iterator[dict[int, Span]]:
    """Spans to read, one of each partition at a time; near offsets are read together.

    What retention has removed is in no span.
    """
    left: dict[int, list[Span]] = {}
    for partition, offset in sorted(set(places)):
        whole = spans.get(partition)
        if whole is None or not whole.low <= offset < whole.high:
            continue
        parts = left.setdefault(partition, [])
        if parts and offset - parts[-1].high < _NEAR_OFFSETS:
            parts[-1] = Span(parts[-1].low, offset + 1)
        else:
            parts.append(Span(offset, offset + 1))
    for at in range(max(map(len, left.values()), default=0)):
        yield {partition: parts[at] for partition, parts in left.items() if at < len(parts)}


def read_amounts(
    settings: GroupSettings, group: str, places: list[Place], stall_seconds: float
) -> dict[Place, Stated]:
    """What these inputs state, without those that are gone or cannot be decoded.

    Raises:
        UsageError: no broker answers, or there is no such topic.
        RetryableError: an input could not be read in time, or the Schema Registry fails.
        FatalError: login failed, or this user is not authorized.
    """
    topic, wanted = settings.input_topic, set(places)
    spans = committed_spans(settings, group, topic, require_topics(settings, [topic])[topic])
    found: dict[Place, Stated] = {}
    product_column = TEXT_INDEX["ProductCD"]
    with using_resolver(settings) as resolver:
        decoder = TransactionDecoder(resolver)
        for part in plan_rounds(places, spans):
            for messages in read_spans(settings, group, topic, part, stall_seconds):
                for partition, records in by_partition(messages):
                    own = [
                        row
                        for row, offset in enumerate(records.offsets.tolist())
                        if (partition, offset) in wanted
                    ]
                    if not own:
                        continue
                    decoded = decoder.decode(
                        [records.values[row] for row in own], [records.headers[row] for row in own]
                    )
                    amounts = decoded.batch.numbers[:, NUMBER_INDEX[AMOUNT]].tolist()
                    for row, at in enumerate(decoded.kept.tolist()):
                        product = decoded.batch.string(row, product_column)
                        found[partition, int(records.offsets[own[at]])] = Stated(
                            amounts[row], None if product is None else product[:MAX_PRODUCT_CHARS]
                        )
    return found
