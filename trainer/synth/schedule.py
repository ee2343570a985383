"""When clients transact, and which of their transactions are fraud."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from trainer.synth.clients import ClientKind, Clients
from trainer.synth.sampling import Bools, Floats, Ints, draw_index
from trainer.synth.statistics import FIRST_SECOND, LAST_SECOND, WINDOW_DAYS, Statistics

DAY_SECONDS: Final = 86_400
OLDEST_ACCOUNT_DAYS: Final = 640
SHORTEST_GAP_DAYS: Final = 0.0004


class Rhythm(IntEnum):
    """How a client's transactions follow each other."""

    STEADY = 0
    BURST = 1
    MONTHLY = 2
    SLOW = 3


@dataclass(frozen=True, slots=True)
class Accounts:
    """Per client: its first day in the window, the account's age in days then, and its rhythm."""

    start: Floats
    age_days: Ints
    rhythm: Ints


@dataclass(frozen=True, slots=True)
class ScheduledRows:
    """``n`` transactions in time order.

    Attributes:
        client: the client's index.
        seconds: ``TransactionDT``.
        is_fraud: the label.
        acts: it behaves like fraud. Columns may depend on this, never on the label itself.
    """

    client: Ints
    seconds: Ints
    is_fraud: Bools
    acts: Bools

    def __len__(self) -> int:
        return len(self.client)

    @property
    def day(self) -> Ints:
        """Day number of each transaction."""
        return self.seconds // DAY_SECONDS


def make_accounts(rng: np.random.Generator, clients: Clients) -> Accounts:
    """When each client appears, how old its account is, and its rhythm."""
    m, loud = len(clients), clients.is_loud
    day_weight = np.full(WINDOW_DAYS, 0.95)
    day_weight[:31] = 1.35  # the first month is the busiest
    start = draw_index(rng, day_weight, m) + rng.random(m)
    newness = np.where(clients.kind == ClientKind.BURST, 0.85, np.where(loud, 0.70, 0.74))
    is_new = rng.random(m) < newness
    age = np.minimum(rng.gamma(0.8, 190, m), OLDEST_ACCOUNT_DAYS)
    rhythm = rng.choice(4, m, p=[0.24, 0.38, 0.25, 0.13])
    rhythm[loud & (rng.random(m) < 0.8)] = Rhythm.BURST
    return Accounts(start, np.where(is_new, 0, age).astype(np.int64), rhythm)


def make_rows(
    rng: np.random.Generator, stats: Statistics, clients: Clients, accounts: Accounts, n: int
) -> ScheduledRows:
    """At most ``n`` transactions in time order; surplus clients are dropped first."""
    m = len(clients)
    client = np.repeat(np.arange(m), clients.size)
    first = np.concatenate([[0], np.cumsum(clients.size)[:-1]])
    order = np.arange(len(client)) - first[client]
    is_fraud = clients.is_bad[client] & (order >= _onsets(rng, clients)[client])
    is_history = (clients.kind[client] == ClientKind.TAKEOVER) & ~is_fraud
    gap = _gaps(rng, accounts.rhythm[client], clients.is_loud[client])
    gap = np.where(is_history, gap * 40, gap)
    gap[first] = 0
    elapsed = np.cumsum(gap)
    when = accounts.start[client] + elapsed - elapsed[first][client]
    inside = when < WINDOW_DAYS - 0.1
    client, order, is_fraud, when, is_history = (
        column[inside] for column in (client, order, is_fraud, when, is_history)
    )
    acts = clients.is_loud[client] & ~is_history
    in_burst = (accounts.rhythm[client] == Rhythm.BURST) & (order > 0)
    days = np.floor(when) + np.where(in_burst, when % 1, _times_of_day(rng, stats, acts))
    scale = (LAST_SECOND - FIRST_SECOND) / (WINDOW_DAYS * DAY_SECONDS)
    seconds = np.minimum(FIRST_SECOND + days * DAY_SECONDS * scale, LAST_SECOND).astype(np.int64)
    rows = ScheduledRows(client, seconds, is_fraud, acts)
    return _take(rows, _cut(rng, rows, np.argsort(days, kind="stable"), m, n))


def _take(rows: ScheduledRows, at: Ints) -> ScheduledRows:
    return ScheduledRows(rows.client[at], rows.seconds[at], rows.is_fraud[at], rows.acts[at])


def _onsets(rng: np.random.Generator, clients: Clients) -> Ints:
    """The number of honest transactions of a client before its fraud starts."""
    onset = np.zeros(len(clients), np.int64)
    taken = clients.kind == ClientKind.TAKEOVER
    size = clients.size[taken]
    share = rng.uniform(0.15, 0.5, len(size))
    onset[taken] = np.minimum((size * share).astype(np.int64) + 1, np.maximum(size - 1, 0))
    return onset


def _gaps(rng: np.random.Generator, rhythm: Ints, loud: Bools) -> Floats:
    """Days between a transaction and the previous one."""
    n = len(rhythm)
    e = rng.exponential(1, n)
    monthly = 29 + rng.normal(0, 1.5, n) + (rng.random(n) < 0.2) * 30
    gap: Floats = np.choose(rhythm, [e * 9, e * np.where(loud, 0.16, 0.35), monthly, e * 35])
    return gap.clip(SHORTEST_GAP_DAYS)


def _times_of_day(rng: np.random.Generator, stats: Statistics, acts: Bools) -> Floats:
    n = len(acts)
    like_fraud = draw_index(rng, stats.fraud_hours * 0.5 + stats.hours * 0.0175, n)
    hour = np.where(acts, like_fraud, draw_index(rng, stats.hours, n))
    return (hour + rng.random(n)) / 24


def _cut(rng: np.random.Generator, rows: ScheduledRows, in_time: Ints, m: int, n: int) -> Ints:
    """Positions of at most ``n`` rows in time order, from as few clients as possible."""
    shuffled = rng.permutation(m)
    total = np.bincount(rows.client, minlength=m)[shuffled].cumsum()
    kept = np.zeros(m, bool)
    kept[shuffled[: int(np.searchsorted(total, n)) + 1]] = True
    of_kept = np.flatnonzero(kept[rows.client[in_time]])
    chosen = np.sort(rng.permutation(of_kept)[:n])
    cut: Ints = in_time[chosen]
    return cut
