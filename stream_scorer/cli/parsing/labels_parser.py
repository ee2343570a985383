"""The ``labels`` commands on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import past_time, positive, signed_whole
from stream_scorer.cli.parsing.subcommands import add_command, add_group, add_json

_GROUP: Final = "stream_scorer.settings:GroupSettings"
_ORIGINS: Final = ("ANALYST", "CHARGEBACK", "REVERSAL")
_LABELS: Final = ("FRAUD", "LEGITIMATE", "UNSURE")


def add_labels(commands: Any) -> None:
    """Add the commands."""
    labels = add_group(commands, "labels", "imports, lists and shows labels of transactions")
    imported = add_command(
        labels,
        "import",
        "writes chargebacks or reversals from a CSV file to the labels topic",
        "stream_scorer.cli.labels.importing:run_import",
        _GROUP,
        "Columns: transaction_id, label (FRAUD, LEGITIMATE or UNSURE), decided_at (ISO 8601, or\n"
        "milliseconds since 1970), and optionally note. The file is CSV in UTF-8, also packed\n"
        "with gzip or zip. All lines are checked before the first is written. What is in the\n"
        "topic already is not written again, so a file can be imported any number of times. A\n"
        "label older than the one that stands of the same origin is not written.",
    )
    imported.add_argument("file", type=Path, metavar="FILE.csv", help="labels to import")
    imported.add_argument(
        "--origin", choices=_ORIGINS[1:], required=True, help="where the labels come from"
    )
    imported.add_argument(
        "--skip-bad", action="store_true", help="leave bad lines out, and write the others"
    )
    add_json(imported)
    listing = add_command(
        labels,
        "list",
        "lists the labels that stand",
        "stream_scorer.cli.labels.listing:run_list_labels",
        _GROUP,
        "The last label of a transaction stands, whatever its origin. With --origin, the last\n"
        "one of that origin is listed.",
    )
    listing.add_argument(
        "--since",
        type=past_time,
        metavar="TIME",
        help="decided at this time or later: 2h, 3d or ISO 8601",
    )
    listing.add_argument("--origin", choices=_ORIGINS, help="only labels of this origin")
    listing.add_argument("--label", choices=_LABELS, help="only these labels")
    listing.add_argument(
        "--limit", type=positive, default=20, metavar="N", help="list the newest N (20)"
    )
    add_json(listing)
    show = add_command(
        labels,
        "show",
        "shows all labels of one transaction",
        "stream_scorer.cli.labels.listing:run_show_labels",
        _GROUP,
    )
    show.add_argument(
        "transaction", type=signed_whole, metavar="TRANSACTION_ID", help="the transaction"
    )
    add_json(show)
