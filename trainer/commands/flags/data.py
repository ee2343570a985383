"""The flags that say which rows are trained on, and where their labels come from."""

from __future__ import annotations

import argparse


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """``--transactions``, ``--synthetic``, ``--identity``, ``--labels``, ``--maturity-days``."""
    given = parser.add_mutually_exclusive_group()
    given.add_argument(
        "--transactions", metavar="FILE",
        help="transactions: CSV, gzip, zip or Parquet; a path, file:/// or s3://",
    )  # fmt: skip
    given.add_argument("--synthetic", type=int, metavar="N", help="use N synthetic rows")
    parser.add_argument(
        "--identity", metavar="FILE", help="identities of these transactions, in the same formats"
    )
    parser.add_argument(
        "--labels", metavar="SOURCE",
        help="labels that take precedence over isFraud: a file (transaction_id, label), or topic "
        "for LABELS_TOPIC (Kafka settings as for the scorer)",
    )  # fmt: skip
    parser.add_argument(
        "--maturity-days", type=float, metavar="N",
        help="leave out rows younger than N days before the newest one: their fraud is not known",
    )  # fmt: skip
