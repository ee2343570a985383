"""Drift planted into synthetic tables, to show and to test what happens when customers change.

From a given row on, larger amounts are paid, fewer of them for product W, and more purchasers give
no e-mail domain. A part of the fraud has a pattern that was never there before: a model of earlier
rows misses it, and one that is trained on the new rows finds it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_scorer.errors import UsageError
from trainer.synth.generate import Synthetic

AMOUNT_FACTOR: Final = 2.5
MOVED_SHARE: Final = 0.4
"""Of the purchases of product W: they become product R."""

NO_MAIL_SHARE: Final = 0.3
NEW_FRAUD_SHARE: Final = 0.04
NEW_FRAUD_MAIL: Final = "protonmail.com"
NEW_FRAUD_AMOUNTS: Final = (180.0, 220.0)
"""Of the new pattern: amounts in this range, one recipient domain, and an account of today."""


def plant_drift(tables: Synthetic, row: int, seed: int = 7) -> Synthetic:
    """The same tables with drift from ``row`` on, the first being 0; those before do not change.

    The same tables, row and seed give the same result.

    Raises:
        UsageError: the tables have no such row.
    """
    size = len(tables.transactions)
    if not 0 <= row < size:
        raise UsageError(f"cannot plant drift from row {row} on: there are rows 0 to {size - 1}")
    rng = np.random.default_rng([seed, row])
    found = tables.transactions.copy()
    later = np.arange(size) >= row

    def chance(share: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return later & (rng.random(size) < share)

    amount = found["TransactionAmt"].to_numpy(copy=True)
    amount[later] = np.round(amount[later] * AMOUNT_FACTOR, 3)
    product = found["ProductCD"].to_numpy(dtype=object, copy=True)
    product[chance(MOVED_SHARE) & (product == "W")] = "R"
    purchaser = found["P_emaildomain"].to_numpy(dtype=object, copy=True)
    purchaser[chance(NO_MAIL_SHARE)] = None
    recipient = found["R_emaildomain"].to_numpy(dtype=object, copy=True)
    label = found["isFraud"].to_numpy(copy=True)
    age = found["D1"].to_numpy(copy=True)
    is_new = chance(NEW_FRAUD_SHARE)
    low, high = NEW_FRAUD_AMOUNTS
    amount[is_new] = rng.uniform(low, high, int(is_new.sum())).round(2)
    recipient[is_new], label[is_new], age[is_new] = NEW_FRAUD_MAIL, 1, 0
    changed = {
        "TransactionAmt": amount,
        "ProductCD": product,
        "P_emaildomain": purchaser,
        "R_emaildomain": recipient,
        "isFraud": label,
        "D1": age,
    }
    return Synthetic(found.assign(**changed), tables.identity)
