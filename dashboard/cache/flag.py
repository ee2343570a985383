"""One flagged transaction, as the dashboard stores and shows it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson

from schemas.contracts import AMOUNT, MAX_AMOUNT

SAMPLE: Final = "SAMPLE"
"""Shown as the decision of a transaction that was approved, and chosen at random for review."""

_MOST_REASONS: Final = 20  # a scorer gives five
_TOPIC_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what Kafka accepts


class FlagKey(NamedTuple):
    """The sort key of the list by time. The same topic always gives the same order.

    Partition, offset and topic are the coordinates of the input record.
    """

    scored_at: int
    partition: int
    offset: int
    topic: str


class Position(NamedTuple):
    """The place of a flag in every order of the list.

    Of a sampled transaction, ``expected_loss`` is where it is put at random among the others.
    """

    expected_loss: float
    scored_at: int
    partition: int
    offset: int
    topic: str


@dataclass(frozen=True, slots=True)
class Flag:
    """One flagged transaction, or one that was sampled for review.

    Attributes:
        id: identifies it, see :func:`format_flag_id`.
        key: its position in the list, with the coordinates of the input record.
        transaction_id: set by the producer. It is not always unique.
        score: 0 to 1.
        decision: REVIEW or BLOCK; SAMPLE for a transaction that was not flagged.
        model_version: the version that made the score.
        amount: None if the record has none, or one beyond ``MAX_AMOUNT``.
        expected_loss: score x amount; 0 without an amount. Of a sampled transaction, its place in
            the order by expected loss.
        product, card1, addr1, email, device: None if the record has none.
        reasons: the features of its reasons.
        body: the encoded JSON object that the API and the stream send.
    """

    id: str
    key: FlagKey
    transaction_id: int
    score: float
    decision: str
    model_version: str
    amount: float | None
    expected_loss: float
    product: str | None
    card1: float | None
    addr1: float | None
    email: str | None
    device: str | None
    reasons: tuple[str, ...]
    body: bytes

    @property
    def position(self) -> Position:
        """Its place in every order of the list."""
        return Position(self.expected_loss, *self.key)


def build_flag(
    record: Mapping[str, Any],
    topic: str,
    partition: int,
    offset: int,
    input_topic: str,
    place: float = 0.0,
) -> Flag:
    """Build a flag from a decoded score record and that record's own coordinates.

    ``place`` is where a sampled transaction goes in the order by expected loss.

    Raises:
        KeyError, TypeError, ValueError: the record violates the contract.
    """
    source, context = record["source"], record["context"] or {}
    key = _read_key(int(record["scored_at"]), source)
    score, review = float(record["score"]), float(record["review_threshold"])
    block = float(record["block_threshold"])
    amount = _amount(context.get(AMOUNT))
    reasons = _readable_reasons(record["reasons"])
    is_sampled = not record["is_flagged"]
    body = {
        "id": format_flag_id(key.topic, key.partition, key.offset, input_topic),
        "transaction_id": record["transaction_id"],
        "score": score,
        "risk": risk_of(score, review, block),
        "decision": SAMPLE if is_sampled else record["decision"],
        "review_threshold": review,
        "block_threshold": block,
        "model_version": record["model_version"],
        "scored_at": key.scored_at,
        "event_time": record["event_time"],
        "amount": amount,
        "expected_loss": 0.0 if amount is None else score * amount,
        "product": context.get("ProductCD"),
        "card": describe_card(context),
        "reasons": reasons,
        "context": context,
        "source": source,
        "delivery": {"topic": topic, "partition": partition, "offset": offset},
        "place": place if is_sampled else None,
    }
    return Flag(
        body["id"],
        key,
        int(record["transaction_id"]),
        score,
        body["decision"],
        body["model_version"],
        amount,
        place if is_sampled else body["expected_loss"],
        body["product"],
        _finite(context.get("card1")),
        _finite(context.get("addr1")),
        context.get("P_emaildomain"),
        context.get("DeviceInfo"),
        tuple(reason["feature"] for reason in reasons),
        orjson.dumps(body),
    )


def _readable_reasons(reasons: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those with a finite contribution: JSON has no number for the others."""
    return [one for one in reasons if math.isfinite(one["contribution"])][:_MOST_REASONS]


def _read_key(scored_at: int, source: Mapping[str, Any]) -> FlagKey:
    """The key of a record with these source coordinates.

    Raises:
        ValueError: they cannot be the coordinates of a Kafka record.
    """
    topic, partition, offset = source["topic"], int(source["partition"]), int(source["offset"])
    if partition < 0 or offset < 0 or not _TOPIC_NAME.fullmatch(topic):
        raise ValueError(
            f"the source {topic[:40]!r}, partition {partition}, offset {offset} is not the place "
            "of a Kafka record"
        )
    return FlagKey(scored_at, partition, offset, topic)


def add_member(body: bytes, name: str, value: bytes) -> bytes:
    """The encoded JSON object with one more member, whose value is encoded already."""
    return b'%b,"%b":%b}' % (body[:-1], name.encode(), value)


def risk_of(score: float, review_threshold: float, block_threshold: float) -> str:
    """The risk band: the range from the review threshold to 1 in thirds.

    A score that blocks is at least high, and one that is only reviewed is at most high.
    """
    if score < review_threshold:
        return "low"
    third = (1.0 - review_threshold) / 3
    if score >= block_threshold:
        return "critical" if score >= review_threshold + 2 * third else "high"
    return "elevated" if score < review_threshold + third else "high"


def describe_card(context: Mapping[str, Any]) -> str | None:
    """``13926 · visa credit``: card1, network and type, as far as they are known."""
    card = context.get("card1")
    number = None if card is None else format_number(card)
    kind = " ".join(str(context[name]) for name in ("card4", "card6") if context.get(name))
    return " · ".join(part for part in (number, kind) if part) or None


def format_number(value: float) -> str:
    """A number without a decimal point if it is whole."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def format_flag_id(topic: str, partition: int, offset: int, input_topic: str) -> str:
    """The id: the coordinates of the input record, which identify its outcome.

    ``3-8812345`` for a record of the input topic, ``other-topic:3-8812345`` for another one.
    """
    where = f"{partition}-{offset}"
    return where if topic == input_topic else f"{topic}:{where}"


def parse_flag_id(text: str, input_topic: str) -> tuple[str, int, int] | None:
    """Topic, partition and offset of a flag id. None if the text is not a flag id."""
    topic, colon, where = text.rpartition(":")
    partition, dash, offset = where.partition("-")
    if not (dash and _is_digits(partition, 9) and _is_digits(offset, 18)):
        return None
    if not colon:
        return input_topic, int(partition), int(offset)
    return (topic, int(partition), int(offset)) if _TOPIC_NAME.fullmatch(topic) else None


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _amount(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= MAX_AMOUNT else None


def _is_digits(text: str, max_chars: int) -> bool:
    return 0 < len(text) <= max_chars and text.isascii() and text.isdigit()
