"""The latent variables behind all columns: clients, times, cards, and noisy signs of risk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from trainer.synth.cards import Cards, Wallets, make_cards, make_wallets
from trainer.synth.clients import Clients, make_clients
from trainer.synth.history import History, trace_history
from trainer.synth.sampling import Bools, Floats, Ints, draw_index
from trainer.synth.schedule import Accounts, ScheduledRows, make_accounts, make_rows
from trainer.synth.statistics import PRODUCTS, Statistics

OVERDRAW: Final = 1.32
"""Rows drawn per row needed: those past the window's end are dropped."""

FACTORS: Final = 6
FACTOR_STRENGTH: Final = np.array([1.0, 0.9, 0.8, 0.7, 0.55, 0.4]) * 2.0
CLIENT_NOISE: Final = 0.55
ROW_NOISE: Final = 1.4
LOYALTY: Final = 0.85
"""Probability that a row misses the same columns as its client's other rows."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything drawn before the columns.

    Attributes:
        factors: ``[n, FACTORS]`` noisy observable signs of risk: a client effect plus noise plus
            an effect on rows that behave like fraud, lookalikes included.
        entity: one number per client, which scales all its counts and delays.
        missing: the rows where each unit (a column or group of columns) is missing.
        has_identity: rows with a row in the identity table.
    """

    rng: np.random.Generator
    stats: Statistics
    clients: Clients
    accounts: Accounts
    cards: Cards
    wallets: Wallets
    rows: ScheduledRows
    history: History
    factors: Floats
    entity: Floats
    missing: dict[str, Bools]
    has_identity: Bools

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def product(self) -> Ints:
        """Product of each row, an index into ``PRODUCTS``."""
        return self.clients.product[self.rows.client]

    def factor(self, j: int) -> Floats:
        """One of the signs of risk; ``j`` wraps around."""
        return self.factors[:, j % FACTORS]

    def per_client(self) -> Floats:
        """A new normal number for each client, repeated for its rows."""
        return self.rng.normal(0, 1, len(self.clients))[self.rows.client]

    def noise(self) -> Floats:
        """A new normal number for each row."""
        return self.rng.normal(0, 1, len(self))

    def chance(self, probability: float) -> Bools:
        """For each row, True with the given probability."""
        return self.rng.random(len(self)) < probability


def draw_scene(rng: np.random.Generator, stats: Statistics, n: int) -> Scene:
    """A scene with exactly ``n`` transactions."""
    overdraw = OVERDRAW
    while True:
        clients = make_clients(rng, stats, int(n * overdraw))
        accounts = make_accounts(rng, clients)
        rows = make_rows(rng, stats, clients, accounts, n)
        if len(rows) == n and rows.is_fraud.any():
            break
        overdraw *= 1.3
    cards = make_cards(rng, stats)
    wallets = make_wallets(rng, stats, clients, cards, accounts.start)
    missing, has_identity = _missing(rng, stats, clients, rows)
    honest_spread = rng.normal(0, 1, (len(clients), FACTORS)) * CLIENT_NOISE
    factors = honest_spread[rows.client] + rows.acts[:, None] * FACTOR_STRENGTH
    return Scene(
        rng=rng,
        stats=stats,
        clients=clients,
        accounts=accounts,
        cards=cards,
        wallets=wallets,
        rows=rows,
        history=trace_history(rows),
        factors=factors + rng.normal(0, ROW_NOISE, (n, FACTORS)),
        entity=rng.normal(0, 1, len(clients))[rows.client],
        missing=missing,
        has_identity=has_identity,
    )


def _missing(
    rng: np.random.Generator, stats: Statistics, clients: Clients, rows: ScheduledRows
) -> tuple[dict[str, Bools], Bools]:
    """Where each unit is missing, and which rows have an identity, by product's joint patterns."""
    usual = np.zeros(len(clients), np.int64)
    fresh = np.zeros(len(rows), np.int64)
    product = clients.product[rows.client]
    for p in range(len(PRODUCTS)):
        patterns = np.flatnonzero(stats.pattern_product == p)
        weights = stats.pattern_weight[patterns]
        for drawn, these in ((usual, clients.product == p), (fresh, product == p)):
            drawn[these] = patterns[draw_index(rng, weights, int(these.sum()))]
    pattern = np.where(rng.random(len(rows)) < LOYALTY, usual[rows.client], fresh)
    missing = dict(zip(stats.missing_units, stats.missing_patterns[pattern].T, strict=True))
    missing["G15"] = rng.random(len(rows)) < 0.00215  # as D1
    return missing, stats.pattern_has_identity[pattern]
