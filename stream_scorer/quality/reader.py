"""Decodes scores to the columns that their quality is computed from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from schemas.framing import CONFLUENT_MAGIC, Headers
from schemas.records import UndecodableRecord, decode_record
from schemas.resolver import SchemaResolver
from schemas.scores.sampling import SHARE_HEADER, parse_share
from stream_scorer.audit.records.columns import Mark
from stream_scorer.audit.records.score_reader import ScoreReader
from stream_scorer.errors import UsageError
from stream_scorer.quality.rows import APPROVE, Integers, ScoreRows

MAX_PRODUCT_CHARS: Final = 40
_UNREADABLE_SHARE: Final = 0.01


class QualityReader:
    """Reads batches of scores. What is no score, or contradicts itself, is counted and left out.

    A score that is neither flagged nor sampled has no context, so that its amount and its product
    are not known.

    Args:
        resolver: finds the writers' schemas.
        input_topic: the topic that the scores are of.
    """

    def __init__(self, resolver: SchemaResolver, input_topic: str) -> None:
        self._resolver = resolver
        self._scores = ScoreReader(resolver, input_topic)
        self.refused: Counter[str] = Counter()
        self.of_registry = 0
        """Unreadable records that begin like those with a schema id of a Schema Registry."""

    @property
    def needs_registry(self) -> bool:
        """There are scores that only a Schema Registry has the schema of."""
        return self.of_registry > 0

    def read(
        self,
        values: Sequence[bytes | None],
        times: Integers,
        headers: Callable[[], Sequence[Headers]],
    ) -> ScoreRows:
        """The columns of a batch of records.

        Args:
            values: the records' values.
            times: their timestamps, epoch milliseconds; -1 where there is none.
            headers: called if a record's headers are needed.

        Raises:
            RetryableError: the registry does not answer.
        """
        found = self._scores.sources(values)
        is_score = found.is_readable & (found.marks & np.uint8(Mark.IMPLAUSIBLE) == 0)
        is_score &= found.results.decisions >= 0
        is_dated = times >= 0
        unread = np.flatnonzero(~is_score).tolist()
        self.refused["unreadable_scores"] += len(unread)
        self.of_registry += sum((values[i] or b"").startswith(CONFLUENT_MAGIC) for i in unread)
        self.refused["scores_without_time"] += int((is_score & ~is_dated).sum())
        taken = np.flatnonzero(is_score & is_dated)
        rows = ScoreRows(
            times=times[taken],
            transactions=found.transactions[taken],
            scores=found.results.scores[taken].view(np.float64),
            decisions=found.results.decisions[taken],
            versions=found.versions[taken],
            partitions=found.partitions[taken],
            offsets=found.offsets[taken],
            is_sampled=np.zeros(len(taken), np.bool_),
            shares=np.full(len(taken), np.nan),
            amounts=np.full(len(taken), np.nan),
            products=np.full(len(taken), -1, np.int16),
            version_names=self._scores.version_names,
            product_names=(),
        )
        may_have_context = found.may_have_context[taken] | (rows.decisions != APPROVE)
        return self._with_context(rows, values, taken, np.flatnonzero(may_have_context), headers)

    def _with_context(
        self,
        rows: ScoreRows,
        values: Sequence[bytes | None],
        taken: Integers,
        with_context: Integers,
        headers: Callable[[], Sequence[Headers]],
    ) -> ScoreRows:
        """Fill in what only flagged and sampled scores state."""
        names: dict[str, int] = {}
        for row in with_context.tolist():
            score = self._decode(values[taken[row]])
            rows.is_sampled[row] = score.get("is_sampled") is True
            context = score.get("context") or {}
            amount, product = context.get("TransactionAmt"), context.get("ProductCD")
            if isinstance(amount, float):
                rows.amounts[row] = amount
            if isinstance(product, str):
                rows.products[row] = names.setdefault(product[:MAX_PRODUCT_CHARS], len(names))
        for row in np.flatnonzero(rows.is_sampled).tolist():
            share = _share_in(headers()[taken[row]])
            rows.shares[row] = np.nan if share is None else share
        return rows._replace(product_names=tuple(names))

    def _decode(self, value: bytes | None) -> dict[str, Any]:
        try:
            return decode_record("fraud_score", value, self._resolver)
        except UndecodableRecord:  # the compiled reader accepts what it need not look at
            return {}


def _share_in(headers: Headers) -> float | None:
    for name, value in headers or ():
        if name == SHARE_HEADER:
            return parse_share(value if isinstance(value, bytes) else None)
    return None


def refuse_unread(topic: str, of_registry: int, read: int) -> None:
    """Refuse figures of some scores where the others can be read with a Schema Registry alone.

    A few records that are no scores, whatever their first bytes, are a problem of the result.

    Raises:
        UsageError: more than 1 % of the scores cannot be read.
    """
    if of_registry > _UNREADABLE_SHARE * (of_registry + read):
        raise UsageError(
            f"{of_registry:,} of {of_registry + read:,} records of {topic} have schema ids of a "
            "Schema Registry, and cannot be read without it: set SCHEMA_REGISTRY_URL, or a later "
            "--since if they are no scores"
        )
