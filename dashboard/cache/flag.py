"""One flagged transaction as the dashboard keeps and shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson


class FlagKey(NamedTuple):
    """The order of the list: newest first, then by coordinates, whoever rebuilt it."""

    scored_at: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Flag:
    """One flagged transaction.

    Attributes:
        key: where it stands in the list; partition and offset are the input record's.
        transaction_id: as the producer gave it; may come twice.
        score: 0 to 1.
        amount: None where the record carries no context.
        product: None likewise.
        body: the JSON object the API and the stream send, ready made.
    """

    key: FlagKey
    transaction_id: int
    score: float
    amount: float | None
    product: str | None
    body: bytes


def build_flag(record: Mapping[str, Any], topic: str, partition: int, offset: int) -> Flag:
    """A flag from a decoded score record and where that record itself was found.

    Raises:
        KeyError, TypeError, ValueError: the record is not what the contract says.
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
    """The risk band: from the review threshold up, in thirds of what is left up to 1."""
    if score < review_threshold:
        return "low"
    third = (1.0 - review_threshold) / 3
    if score < review_threshold + third:
        return "elevated"
    return "high" if score < review_threshold + 2 * third else "critical"


def describe_card(context: Mapping[str, Any]) -> str | None:
    """``13926 · visa credit``: the card identity and its network and kind, where known."""
    card = context.get("card1")
    number = None if card is None else format_number(card)
    kind = " ".join(str(context[name]) for name in ("card4", "card6") if context.get(name))
    return " · ".join(part for part in (number, kind) if part) or None


def format_number(value: float) -> str:
    """A number as people write it: whole ones without a point."""
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


def format_flag_id(partition: int, offset: int) -> str:
    """``3-8812345``: the coordinates of the input record, which address its one outcome."""
    return f"{partition}-{offset}"


def parse_flag_id(text: str) -> tuple[int, int] | None:
    """Partition and offset of a flag's id; None if it is none."""
    partition, dash, offset = text.partition("-")
    if not (dash and _is_digits(partition, 9) and _is_digits(offset, 18)):
        return None
    return int(partition), int(offset)


def _is_digits(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isascii() and text.isdigit()
