"""A client's card, billing address and e-mail domains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.synth.clients import Clients
from trainer.synth.sampling import Bools, Floats, Ints, draw_index, draw_level
from trainer.synth.statistics import PRODUCTS, WINDOW_DAYS, Levels, Statistics

CARD_COUNT: Final = 13_553
TRANSACTION_COUNT: Final = 590_540
"""Of the table that the level counts were taken from."""

MONTHS: Final = 7
HOT_CARDS_A_MONTH: Final = 60
HOT_SHARE: Final = 0.16
"""Share of fraud on the card ranges that are compromised in a month. This is the drift."""

FOREIGN_BY_PRODUCT: Final = np.array([0.003, 0.93, 0.014, 0.02, 0.014])
SAME_MAIL_BY_PRODUCT: Final = np.array([0, 0.97, 0.75, 0.6, 0])
"""Probability that purchaser and recipient have the same e-mail domain."""

NETWORKS: Final = Levels(
    np.array(["visa", "mastercard", "american express", "discover"], dtype=object),
    np.array([384_767.0, 189_217.0, 8_328.0, 6_651.0]),
)
CARD_TYPES: Final = Levels(
    np.array(["debit", "credit"], dtype=object), np.array([439_938.0, 148_986.0])
)
MAIL_RISK: Final = {
    "outlook.com": 2.6, "hotmail.com": 1.6, "gmail.com": 1.35, "icloud.com": 1.1,
    "yahoo.com": 0.7, "anonymous.com": 0.7, "att.net": 0.25, "verizon.net": 0.3,
    "sbcglobal.net": 0.2, "mail.com": 3.5, "live.com": 0.9, "aol.com": 0.7,
}  # fmt: skip
"""How much more often a fraud-like client has the domain than other clients."""

OTHER_MAIL_RISK: Final = 0.9


@dataclass(frozen=True, slots=True)
class Cards:
    """All cards: the attributes of each ``card1``, and its frequency."""

    columns: dict[str, NDArray[Any]]
    weight: Floats
    is_foreign: Bools
    is_hot: Bools
    """``[cards, MONTHS]``"""


@dataclass(frozen=True, slots=True)
class Wallets:
    """Each client's means of payment; ``card`` indexes the cards, the other fields are values."""

    card: Ints
    addr1: Floats
    addr2: Floats
    mail: NDArray[np.object_]
    second_mail: NDArray[np.object_]
    has_one_mail: Bools


def make_cards(rng: np.random.Generator, stats: Statistics) -> Cards:
    """The cards; those in the published level counts come first."""
    known = stats.levels["card1"]
    tail_length = CARD_COUNT - len(known.values)
    others = rng.permutation(np.setdiff1d(np.arange(1000, 18_397), known.values))[:tail_length]
    tail = 1 / np.arange(41, 41 + tail_length) ** 0.85
    tail *= (TRANSACTION_COUNT - known.weights.sum()) / tail.sum()
    weight = np.concatenate([known.weights, tail])

    is_foreign = rng.random(CARD_COUNT) < 0.2
    is_foreign[: len(known.values)] = False
    is_foreign[[2, 22]] = True  # two of the published cards are used mostly for product C
    network = draw_level(rng, NETWORKS, CARD_COUNT)
    card_type = draw_level(rng, CARD_TYPES, CARD_COUNT)
    card_type[np.isin(network, ["american express", "discover"])] = "credit"
    card2 = draw_level(rng, stats.levels["card2"], CARD_COUNT).astype(float)
    rare = rng.random(CARD_COUNT) < 0.3
    card2[rare] = rng.integers(100, 600, rare.sum())
    abroad = draw_level(rng, stats.levels["card3"].without(150), CARD_COUNT)
    is_hot = np.zeros((CARD_COUNT, MONTHS), bool)
    for month in range(MONTHS):
        hot = rng.choice(CARD_COUNT, HOT_CARDS_A_MONTH, replace=False, p=weight / weight.sum())
        is_hot[hot, month] = True
    columns = {
        "card1": np.concatenate([known.values, others]).astype(np.int64),
        "card2": card2,
        "card3": np.where(is_foreign, abroad, 150.0),
        "card4": network,
        "card5": draw_level(rng, stats.levels["card5"], CARD_COUNT),
        "card6": card_type,
    }
    return Cards(columns, weight, is_foreign, is_hot)


def make_wallets(
    rng: np.random.Generator, stats: Statistics, clients: Clients, cards: Cards, start: Floats
) -> Wallets:
    """Card, address and e-mail of each client; ``start`` is its first day in the window."""
    m = len(clients)
    addr1, addr2 = _addresses(rng, stats, clients)
    mail, second_mail = (_mails(rng, stats, clients) for _ in range(2))
    return Wallets(
        card=_pick_cards(rng, clients, cards, start),
        addr1=addr1,
        addr2=addr2,
        mail=mail,
        second_mail=second_mail,
        has_one_mail=rng.random(m) < SAME_MAIL_BY_PRODUCT[clients.product],
    )


def _pick_cards(rng: np.random.Generator, clients: Clients, cards: Cards, start: Floats) -> Ints:
    m, loud = len(clients), clients.is_loud
    abroad = rng.random(m) < FOREIGN_BY_PRODUCT[clients.product]
    foreign = np.where(cards.is_foreign, cards.weight, 0)
    domestic = np.where(cards.is_foreign, 0, cards.weight)
    card = np.where(abroad, draw_index(rng, foreign, m), draw_index(rng, domestic, m))
    risky = loud & ~abroad
    is_credit = cards.columns["card6"] == "credit"
    card[risky] = draw_index(rng, domestic * np.where(is_credit, 4.0, 1.0), int(risky.sum()))
    of_month = (start / (WINDOW_DAYS / 6)).astype(int).clip(0, MONTHS - 1)
    for month in range(MONTHS):
        hit = loud & (of_month == month) & (rng.random(m) < HOT_SHARE)
        hot = cards.weight * cards.is_hot[:, month] * np.where(cards.is_foreign, 0.3, 1.0)
        card[hit] = draw_index(rng, hot, int(hit.sum()))
    return card


def _addresses(
    rng: np.random.Generator, stats: Statistics, clients: Clients
) -> tuple[Floats, Floats]:
    m, levels = len(clients), stats.levels["addr1"]
    addr1 = draw_level(rng, levels, m).astype(float)
    rare = rng.random(m) < 0.12
    addr1[rare] = rng.integers(100, 541, rare.sum())
    moved = clients.is_loud & (rng.random(m) < 0.15)
    shifted = Levels(levels.values, np.roll(levels.weights, 7))
    addr1[moved] = draw_level(rng, shifted, int(moved.sum()))
    elsewhere = draw_level(rng, stats.levels["addr2"].without(87), m)
    return addr1, np.where(rng.random(m) < 0.991, 87.0, elsewhere)


def _mails(rng: np.random.Generator, stats: Statistics, clients: Clients) -> NDArray[np.object_]:
    mail = np.empty(len(clients), object)
    for product in range(len(PRODUCTS)):
        usual = stats.emails[product]
        risk = np.array([MAIL_RISK.get(domain, OTHER_MAIL_RISK) for domain in usual.values])
        for loud, levels in ((False, usual), (True, Levels(usual.values, usual.weights * risk))):
            these = (clients.product == product) & (clients.is_loud == loud)
            mail[these] = draw_level(rng, levels, int(these.sum()))
    return mail
