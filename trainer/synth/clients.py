"""Clients, honest and fraudulent, each with a product and a number of transactions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from trainer.synth.sampling import Bools, Floats, Ints, draw_index
from trainer.synth.statistics import Statistics

MEAN_SIZE: Final = np.array([2.9, 2.6, 1.7, 1.8, 2.2])
"""Mean transactions per client, by product; most clients have one, the tail is heavy."""

LARGEST_CLIENT: Final = 250
FRAUD_SHARE: Final = 0.035
STEALTH_SHARE: Final = 0.09
TAKEOVER_SHARE: Final = 0.22
LOOKALIKE_SHARE: Final = 0.011


class ClientKind(IntEnum):
    """How a client behaves; a latent variable, never a column."""

    GOOD = 0
    BURST = 1
    """A new account that is fraud from its first transaction."""
    TAKEOVER = 2
    """An honest history, then fraud until the end: later transactions inherit the chargeback."""
    STEALTH = 3
    """Fraud that behaves like an honest client: the irreducible error."""
    LOOKALIKE = 4
    """An honest client that behaves like fraud."""


@dataclass(frozen=True, slots=True)
class Clients:
    """``m`` clients: product (index into ``PRODUCTS``), number of transactions, kind."""

    product: Ints
    size: Ints
    kind: Ints

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def is_bad(self) -> Bools:
        """Clients with at least one fraud."""
        return np.isin(self.kind, [ClientKind.BURST, ClientKind.TAKEOVER, ClientKind.STEALTH])

    @property
    def is_loud(self) -> Bools:
        """Clients that behave like fraud, whether or not they are fraud."""
        return np.isin(self.kind, [ClientKind.BURST, ClientKind.TAKEOVER, ClientKind.LOOKALIKE])


def make_clients(rng: np.random.Generator, stats: Statistics, transactions: int) -> Clients:
    """Clients with about ``transactions`` transactions in total, a fixed share of them fraud."""
    frauds = max(int(transactions * FRAUD_SHARE), 4)
    honest = stats.product_share * (1 - stats.product_fraud)
    good = _make(rng, transactions - frauds, honest, has_long_tail=False)
    bad = _make(rng, frauds, stats.product_share * stats.product_fraud, has_long_tail=True)
    product, size = np.concatenate([good, bad]).T
    is_bad = np.arange(len(product)) >= len(good)
    u = rng.random(len(product))
    fraud_kind = np.select(
        [u < STEALTH_SHARE, u < STEALTH_SHARE + TAKEOVER_SHARE],
        [ClientKind.STEALTH, ClientKind.TAKEOVER],
        ClientKind.BURST,
    )
    good_kind = np.where(u < LOOKALIKE_SHARE, ClientKind.LOOKALIKE, ClientKind.GOOD)
    return Clients(product, size, np.where(is_bad, fraud_kind, good_kind))


def _sizes(rng: np.random.Generator, product: Ints) -> Ints:
    m = len(product)
    usual = rng.geometric(1 / np.maximum(MEAN_SIZE[product] * 0.75, 1.01), m)
    heavy = rng.random(m) < 0.02
    return np.minimum(np.where(heavy, usual + rng.geometric(0.04, m), usual), LARGEST_CLIENT)


def _make(rng: np.random.Generator, total: int, weights: Floats, *, has_long_tail: bool) -> Ints:
    """Rows of (product, size) whose sizes sum to ``total`` or slightly more."""
    parts: list[Ints] = []
    made = 0
    while made < total:
        m = int(total / 2.5) + 50
        product = draw_index(rng, weights * [1.06, 1, 0.9, 0.9, 0.9] / MEAN_SIZE, m)
        size = _sizes(rng, product)
        if has_long_tail:
            size = np.where(rng.random(m) < 0.45, size + rng.geometric(0.3, m), size)
        parts.append(np.column_stack([product, size]))
        made += int(size.sum())
    rows = np.concatenate(parts)
    return rows[: int(np.searchsorted(np.cumsum(rows[:, 1]), total)) + 1]
