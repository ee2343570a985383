"""The named columns of the transaction table: cards, counts, delays, matches, distances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from trainer.synth.marks import FIRST_ID
from trainer.synth.sampling import Floats, blank, blank_text, quantile_step, to_uniform
from trainer.synth.scene import Scene
from trainer.synth.statistics import PRODUCTS

Column = NDArray[Any]

COUNT_LOADINGS: Final = (
    0.55, 0.6, 0, 0.5, -0.25, 0.4, 0.45, 0.6, -0.35, 0.5, 0.5, 0.55, -0.15, 0.3,
)  # fmt: skip
"""How strongly C1 to C14 depend on risk."""

COUNT_LIMITS: Final = (
    4685, 5691, 26, 2253, 349, 2253, 2255, 3331, 210, 3257, 3188, 3188, 2918, 1429,
)  # fmt: skip

SHIFTED_DELAYS: Final = {4: (0.7, 60.0), 10: (0.65, 80.0), 11: (0.75, 50.0), 15: (0.62, 90.0)}
"""Delays that copy D1: probability of an exact copy, else the deviation in days."""

RESET_DELAYS: Final = (4, 10, 15)
"""Delays that restart with a new device or address on a stolen card."""

TABLE_DELAYS: Final = (6, 7, 8, 12, 13, 14)

MATCHES: Final = {
    "M1": ("M1", 0.99992, 1, "TF"), "M2": ("M1", 0.8937, 1, "TF"), "M3": ("M1", 0.788, 1, "TF"),
    "M5": ("M5", 0.552, -1, "FT"), "M6": ("M6", 0.459, 1, "TF"), "M7": ("M7", 0.1347, 1, "TF"),
    "M8": ("M8", 0.3645, 1, "TF"), "M9": ("M8", 0.8419, 1, "TF"),
}  # fmt: skip
"""Per column: the unit it is missing with, share and sign of risk of the first value, values."""


def from_table(scene: Scene, column: str, uniform: Floats) -> Floats:
    """Values of a column from its quantile table for the row's product class."""
    table = scene.stats.quantiles[column]
    return table[np.minimum(scene.product, 2), quantile_step(uniform)]


def card_columns(scene: Scene) -> Iterator[tuple[str, Column]]:
    """card1 to card6 and the two address columns."""
    card = scene.wallets.card[scene.rows.client]
    columns = {name: values[card] for name, values in scene.cards.columns.items()}
    unknown = scene.chance(0.0027)
    yield "card1", columns["card1"]
    yield "card2", blank(columns["card2"], scene.missing["card2"])
    yield "card3", blank(columns["card3"], unknown)
    yield "card4", blank_text(columns["card4"], unknown)
    yield "card5", blank(columns["card5"], scene.chance(0.0072))
    yield "card6", blank_text(columns["card6"], unknown)
    for name, values in (("addr1", scene.wallets.addr1), ("addr2", scene.wallets.addr2)):
        yield name, blank(values[scene.rows.client], scene.missing["addr1"])


def mail_columns(scene: Scene) -> Iterator[tuple[str, Column]]:
    """The purchaser's and the recipient's e-mail domains; a thief often uses another one."""
    client, wallets = scene.rows.client, scene.wallets
    changed = (scene.rows.acts & scene.chance(0.22)) | scene.chance(0.03)
    purchaser = np.where(changed, wallets.second_mail[client], wallets.mail[client])
    is_same = wallets.has_one_mail[client] | scene.chance(0.05)
    recipient = np.where(is_same, purchaser, wallets.second_mail[client])
    yield "P_emaildomain", blank_text(purchaser, scene.missing["P_emaildomain"])
    yield "R_emaildomain", blank_text(recipient, scene.missing["R_emaildomain"])


def distance_columns(scene: Scene) -> Iterator[tuple[str, Column]]:
    """dist1 and dist2."""
    z = 0.8 * scene.per_client() + 0.3 * scene.factor(2) + 0.5 * scene.noise()
    for name in ("dist1", "dist2"):
        yield name, blank(from_table(scene, name, to_uniform(z, 1.05)), scene.missing[name])


def count_columns(scene: Scene) -> Iterator[tuple[str, Column]]:
    """C1 to C14: counts that grow with the account's history and differ between clients."""
    growth = np.log1p(scene.history.count) * 0.25
    growth -= growth.mean() + 0.12
    for j, (loading, limit) in enumerate(zip(COUNT_LOADINGS, COUNT_LIMITS, strict=True), 1):
        z = 0.78 * scene.entity + growth + 0.448 * loading * scene.factor(j)
        z += 0.42 * scene.noise()
        uniform = to_uniform(z, float(np.sqrt(0.78**2 + 0.42**2 + 0.35)))
        value = from_table(scene, f"C{j}", uniform)
        is_hub = uniform > 0.993  # a few shared cards and addresses have counts of thousands
        value[is_hub] *= np.exp(scene.rng.exponential(1.1, int(is_hub.sum())))
        yield f"C{j}", np.minimum(np.round(value), limit)


def delay_columns(scene: Scene) -> Iterator[tuple[str, Column]]:
    """D1 to D15: days since earlier events, and the hour as a fraction of the day (D9)."""
    delays = _known_delays(scene) | _shifted_delays(scene)
    for j in TABLE_DELAYS:
        z = 0.8 * scene.entity - 0.35 * scene.factor(j) + 0.6 * scene.noise()
        delays[j] = from_table(scene, f"D{j}", to_uniform(z, 1.2))
    delays[9] = np.floor((scene.rows.seconds / 3600) % 24) / 24
    for j, value in delays.items():
        unit = "D8" if j == 9 else f"D{j}"
        yield f"D{j}", blank(value, scene.missing[unit]) if unit in scene.missing else value


def _days_since_start(scene: Scene) -> Floats:
    opened = scene.history.first_day - scene.accounts.age_days[scene.rows.client]
    return np.clip(scene.rows.day - opened, 0, 640).astype(float)


def _known_delays(scene: Scene) -> dict[int, Floats]:
    """D1: days since the account was opened; D2: the same if positive; D3, D5: since the last."""
    since_start, gap = _days_since_start(scene), scene.history.gap_seconds
    is_old = scene.accounts.age_days[scene.rows.client] > 0
    n = len(scene)
    before_window = np.isnan(gap) & is_old & scene.chance(0.25)
    since_last = np.where(
        before_window, np.round(scene.rng.exponential(30, n)), np.floor(gap / 86_400)
    )
    return {
        1: blank(since_start, scene.missing["G15"]),
        2: blank(since_start, (since_start == 0) | scene.chance(0.02)),
        3: since_last,
        5: blank(since_last, scene.chance(0.14)),
    }


def _shifted_delays(scene: Scene) -> dict[int, Floats]:
    since_start = _days_since_start(scene)
    is_reset = scene.rows.acts & scene.chance(0.35)
    m, rng = len(scene.clients), scene.rng
    out: dict[int, Floats] = {}
    for j, (exact, deviation) in SHIFTED_DELAYS.items():
        shift = np.where(rng.random(m) < exact, 0, np.round(rng.normal(0, deviation, m)))
        value = np.clip(since_start + shift[scene.rows.client], -83, 880)
        out[j] = np.where(is_reset, 0, value) if j in RESET_DELAYS else value
    return out


def match_columns(scene: Scene) -> Iterator[tuple[str, Column]]:
    """M1 to M9: whether names and addresses match, and the three classes of M4."""
    for name, (unit, share, sign, levels) in MATCHES.items():
        z = 0.85 * scene.per_client() + 0.25 * sign * scene.factor(int(name[1]) - 1)
        is_first = to_uniform(z + 0.5 * scene.noise(), 1.06) < share
        values = np.where(is_first, levels[0], levels[1])
        yield name, blank_text(values, scene.missing[unit])
    z = 0.8 * scene.per_client() + 0.42 * scene.factor(0) + 0.5 * scene.noise()
    uniform = to_uniform(z, 1.13)
    values = np.select([uniform < 0.171, uniform < 0.806], ["M1", "M0"], "M2")
    yield "M4", blank_text(values, scene.missing["M4"])


def key_columns(scene: Scene, amount: Floats) -> Iterator[tuple[str, Column]]:
    """Id, label, time, amount, product."""
    yield "TransactionID", FIRST_ID + np.arange(len(scene))
    yield "isFraud", scene.rows.is_fraud.astype(np.int64)
    yield "TransactionDT", scene.rows.seconds
    yield "TransactionAmt", amount
    yield "ProductCD", PRODUCTS[scene.product]
