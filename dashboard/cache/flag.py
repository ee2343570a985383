"""One flagged transaction, as the dashboard stores and shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson


class FlagKey(NamedTuple):
    """The sort key of the list. The same topic always gives the same order.

    Partition and offset are the source coordinates.
    """

    scored_at: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Flag:
    """One flagged transaction.

    Attributes:
        key: its position in the list, with the coordinates of the input record.
        transaction_id: set by the producer. It is not always unique.
        score: 0 to 1.
        amount: None if the record has no context.
        product: None if the record has no context.
        body: the encoded JSON object that the API and the stream send.
    """

    key: FlagKey
    transaction_id: int
    score: float
    amount: float | None
    product: str | None
    body: bytes


def build_flag(record: Mapping[str, Any], topic: str, partition: int, offset: int) -> Flag:
    """Build a flag from a decoded score record and that record's own coordinates.

    Raises:
        KeyError, TypeError, ValueError: the record violates the contract.
    """
    source = record["source"]
    context = record["context"] or {}
    key = FlagKey(int(record["scored_at"]), int(source["partition"]), int(source["offset"]))
    score, review = float(record["score"]), float(record["review_threshold"])
    body = {
        "id": format_flag_id(key.partition, key.offset),
        "transaction_id": record["transaction_id"],
        "score": score,
        "risk": risk_of(score, review),
        "decision": record["decision"],
        "review_threshold": review,
        "block_threshold": record["block_threshold"],
        "model_version": record["model_version"],
        "scored_at": key.scored_at,
        "event_time": record["event_time"],
        "amount": context.get("TransactionAmt"),
        "product": context.get("ProductCD"),
        "card": describe_card(context),
        "reasons": record["reasons"],
        "context": context,
        "source": source,
        "delivery": {"topic": topic, "partition": partition, "offset": offset},
    }
    return Flag(
        key,
        int(record["transaction_id"]),
        score,
        body["amount"],
        body["product"],
        orjson.dumps(body),
    )


def risk_of(score: float, review_threshold: float) -> str:
    """The risk band. The range from the review threshold to 1 is split into thirds."""
    if score < review_threshold:
        return "low"
    third = (1.0 - review_threshold) / 3
    if score < review_threshold + third:
        return "elevated"
    return "high" if score < review_threshold + 2 * third else "critical"


def describe_card(context: Mapping[str, Any]) -> str | None:
    """``13926 · visa credit``: card1, network and type, as far as they are known."""
    card = context.get("card1")
    number = None if card is None else format_number(card)
    kind = " ".join(str(context[name]) for name in ("card4", "card6") if context.get(name))
    return " · ".join(part for part in (number, kind) if part) or None


def format_number(value: float) -> str:
    """A number without a decimal point if it is whole."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def format_flag_id(partition: int, offset: int) -> str:
    """``3-8812345``: partition and offset of the input record, which identify its outcome."""
    return f"{partition}-{offset}"


def parse_flag_id(text: str) -> tuple[int, int] | None:
    """Partition and offset of a flag id. None if the text is not a flag id."""
    partition, dash, offset = text.partition("-")
    if not (dash and _is_digits(partition, 9) and _is_digits(offset, 18)):
        return None
    return int(partition), int(offset)


def _is_digits(text: str, max_chars: int) -> bool:
    return 0 < len(text) <= max_chars and text.isascii() and text.isdigit()
