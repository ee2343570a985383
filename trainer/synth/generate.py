"""Generates the two tables, column by column, from one drawn scene."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import pandas as pd

from stream_scorer.errors import UsageError
from trainer.synth.amounts import draw_amounts
from trainer.synth.columns import (
    card_columns,
    count_columns,
    delay_columns,
    distance_columns,
    key_columns,
    mail_columns,
    match_columns,
)
from trainer.synth.identity import identity_columns
from trainer.synth.scene import draw_scene
from trainer.synth.statistics import load_statistics
from trainer.synth.vesta import vesta_columns

TRANSACTION_ORDER: Final = (
    "TransactionID", "isFraud", "TransactionDT", "TransactionAmt", "ProductCD",
    *(f"card{j}" for j in range(1, 7)), "addr1", "addr2", "dist1", "dist2",
    "P_emaildomain", "R_emaildomain", *(f"C{j}" for j in range(1, 15)),
    *(f"D{j}" for j in range(1, 16)), *(f"M{j}" for j in range(1, 10)),
    *(f"V{j}" for j in range(1, 340)),
)  # fmt: skip
"""The 394 columns in the order of the real table."""

IDENTITY_ORDER: Final = (
    "TransactionID", *(f"id_{j:02}" for j in range(1, 39)), "DeviceType", "DeviceInfo",
)  # fmt: skip
"""The 41 columns in the order of the real table."""

SMALLEST: Final = 50
"""Fewer rows have too few clients for the shares to be meaningful."""


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Two tables with the columns of the real ones; rows are in time order."""

    transactions: pd.DataFrame
    identity: pd.DataFrame


def generate(n: int, seed: int = 7) -> Synthetic:
    """Exactly ``n`` transactions, with their identity rows.

    The same ``n`` and ``seed`` give the same tables. Whether a client is fraud is decided
    before any column is drawn, and no column depends on the label alone. Every effect goes through
    the client's behaviour, which noise, stealthy fraud and honest lookalikes blur.

    Raises:
        UsageError: ``n`` is below the smallest size.
    """
    if n < SMALLEST:
        raise UsageError(f"cannot generate {n} synthetic rows: the minimum is {SMALLEST}")
    scene = draw_scene(np.random.default_rng(seed), load_statistics(), n)
    amount = draw_amounts(scene)
    columns = dict(
        chain(
            key_columns(scene, amount),
            card_columns(scene),
            mail_columns(scene),
            distance_columns(scene),
            count_columns(scene),
            delay_columns(scene),
            match_columns(scene),
            vesta_columns(scene, amount),
        )
    )
    identity = dict(identity_columns(scene))
    return Synthetic(
        pd.DataFrame({name: columns[name] for name in TRANSACTION_ORDER}, copy=False),
        pd.DataFrame({name: identity[name] for name in IDENTITY_ORDER}, copy=False),
    )
