"""The filter of the list of flagged transactions, shared by pages, API and live rows."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Selection:
    """Selects flagged transactions. Bounds are inclusive.

    ``static/filter.js`` applies the same rules to live rows. A test compares the two.
    """

    min_score: float | None = None
    max_score: float | None = None
    product: str | None = None
    transaction_id: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every flagged transaction matches."""
        return self == Selection()

    def matches(self, score: float, product: str | None, transaction_id: int) -> bool:
        """Whether a flagged transaction matches."""
        return (
            (self.min_score is None or score >= self.min_score)
            and (self.max_score is None or score <= self.max_score)
            and (self.product is None or product == self.product)
            and (self.transaction_id is None or transaction_id == self.transaction_id)
        )

    def sql(self) -> tuple[str, dict[str, object]]:
        """The same filter as an SQL condition on the flags table, and its parameters."""
        parts = [
            (self.min_score, "score >= :min_score"),
            (self.max_score, "score <= :max_score"),
            (self.product, "product = :product"),
            (self.transaction_id, "transaction_id = :transaction_id"),
        ]
        wanted = [condition for value, condition in parts if value is not None]
        return " AND ".join(wanted) or "1", {
            "min_score": self.min_score,
            "max_score": self.max_score,
            "product": self.product,
            "transaction_id": self.transaction_id,
        }

    def query(self, **more: object) -> str:
        """The query string of this selection and ``more``, without the parts that are None."""
        pairs = {
            "min_score": self.min_score,
            "max_score": self.max_score,
            "product": self.product,
            "transaction_id": self.transaction_id,
            **more,
        }
        return urlencode({name: value for name, value in pairs.items() if value is not None})
