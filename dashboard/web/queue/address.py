"""The address of the queue page: a link shows exactly this view, so it has all of its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from dashboard.web.problems import Problem

OPEN: Final = "open"
ANY: Final = "any"

BY_LOSS: Final = "expected_loss"
SORTS: Final = {
    BY_LOSS: ("Expected loss", "Score times amount, the largest first"),
    "newest": ("Newest", "The latest score first"),
    "oldest": ("Oldest", "The earliest score first"),
}
STATUSES: Final = {
    OPEN: "Open",
    "mine": "Mine",
    "claimed": "Claimed",
    "snoozed": "Snoozed",
    "decided": "Decided",
    ANY: "Any",
}
SPANS: Final = {
    "15m": "Last 15 minutes",
    "1h": "Last hour",
    "24h": "Last 24 hours",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
}

_LABELS: Final = {
    "q": "Search ",
    "min_score": "Score ≥ ",
    "max_score": "Score ≤ ",
    "min_amount": "Amount ≥ ",
    "max_amount": "Amount ≤ ",
    "product": "Product ",
    "card1": "Card ",
    "addr1": "Region ",
    "email": "Email ",
    "device": "Device ",
    "decision": "Decision ",
    "model": "Model ",
    "reason": "Reason ",
    "status": "Status ",
    "since": "Since ",
    "until": "Until ",
    "transaction_id": "Transaction ",
}
PARAMETERS: Final = frozenset({*_LABELS, "sort", "columns", "after", "sel"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a user may add: a field of the context, the model, or the coordinates."""

    name: str
    text: str

    @property
    def field(self) -> str | None:
        """The field of the context that it shows. None for the other columns."""
        return None if self.name in ("model", "proof") else self.name


COLUMNS: Final = {
    column.name: column
    for column in (
        Column("model", "Model"),
        Column("proof", "Input record"),
        *(Column(name, name) for name in (
            "TransactionDT", "card1", "card2", "card3", "card4", "card5", "card6", "addr1", "addr2",
            "P_emaildomain", "R_emaildomain", "DeviceType", "DeviceInfo",
        )),
    )
}  # fmt: skip


class Address:
    """The parameters of one view of the queue, and the links to the views beside it.

    With ``hides_losses`` it offers no order by expected loss, and the newest come first.

    Raises:
        Problem: 422, a parameter that only this page has is not valid.
    """

    def __init__(self, query: Mapping[str, str], *, hides_losses: bool = False) -> None:
        self._sorts = {n: s for n, s in SORTS.items() if not (n == BY_LOSS and hides_losses)}
        self._given = {
            name: text
            for name, value in query.items()
            if (text := value.strip()) and name not in ("after", "sel")
        }
        self.after = query.get("after", "").strip() or None
        self.sort = self._choice("sort", SORTS, next(iter(self._sorts)))
        self.status = self._choice("status", STATUSES, OPEN)
        names = [name for name in self._given.get("columns", "").split(",") if name]
        self.columns = [COLUMNS[name] for name in dict.fromkeys(names) if name in COLUMNS]
        if unknown := [name for name in names if name not in COLUMNS]:
            reason = f"has no column {unknown[0][:40]!r} (known: {', '.join(COLUMNS)})"
            raise Problem(422, f"columns {reason}", errors=[{"field": "columns", "reason": reason}])

    def _choice(self, name: str, known: Mapping[str, object], default: str) -> str:
        value = self._given.get(name, default)
        if value not in known:
            reason = f"is {value[:40]!r}, and must be one of {', '.join(known)}"
            raise Problem(422, f"{name} {reason}", errors=[{"field": name, "reason": reason}])
        return value

    def parameters(self) -> dict[str, str]:
        """The parameters of the listing. ``any`` is no filter; without a status, only ``open``."""
        found = {name: self._given[name] for name in _LABELS if name in self._given}
        found.pop("status", None)
        if self.status != ANY:
            found["status"] = self.status
        return found | {"sort": self.sort}

    def link(self, **changed: str | None) -> str:
        """The same view with other values. None removes a parameter."""
        wanted = {**self._given, **changed}
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        return f"/?{query}" if query else "/"

    def kept(self) -> list[tuple[str, str]]:
        """What the filter form passes on: the parameters that have no field in it."""
        names = ("sort", "columns", "addr1", "model", "until", "transaction_id")
        return [(name, self._given[name]) for name in names if name in self._given]

    def chips(self) -> list[dict[str, str]]:
        """The active filters, each with the link to the view without it."""
        return [
            {"text": f"{label}{self._show(name)}", "without": self.link(**{name: None})}
            for name, label in _LABELS.items()
            if name in self._given and not (name == "status" and self.status == OPEN)
        ]

    def _show(self, name: str) -> str:
        value = self._given[name]
        if name == "status":
            return STATUSES[value].lower()
        return SPANS.get(value, value).lower() if name == "since" and value in SPANS else value

    def cleared(self) -> str:
        """The link to the view without filters. Order and columns stay."""
        return self.link(**dict.fromkeys(_LABELS))

    def sort_links(self) -> list[dict[str, object]]:
        """The orders."""
        return [
            {"text": text, "title": title, "link": self.by(name), "is_current": name == self.sort}
            for name, (text, title) in self._sorts.items()
        ]

    def by(self, sort: str) -> str:
        """The link to the same view in another order."""
        return self.link(sort=None if sort == next(iter(self._sorts)) else sort)

    @property
    def by_loss(self) -> str | None:
        """The link to the order by expected loss. None if it is not offered."""
        return self.by(BY_LOSS) if BY_LOSS in self._sorts else None

    @property
    def by_time(self) -> str:
        """The link of the column of times: the newest first, or the oldest if they are."""
        return self.by("oldest" if self.sort == "newest" else "newest")

    def column_links(self) -> list[dict[str, object]]:
        """The columns that can be added or removed."""
        shown = [column.name for column in self.columns]
        links: list[dict[str, object]] = []
        for name, column in COLUMNS.items():
            is_shown = name in shown
            wanted = [n for n in shown if n != name] if is_shown else [*shown, name]
            link = self.link(columns=",".join(wanted) or None)
            links.append({"text": column.text, "link": link, "is_shown": is_shown})
        return links
