"""Flags and filters that differ in every field, to compare what filters them."""

from __future__ import annotations

import random
from typing import Any

from dashboard.cache.flag import Flag
from dashboard.cache.selection import Selection
from tests.support.dashboard_kit import make_context, make_flag

NOW = 1_795_000_000_000
HOUR = 3_600_000
EMAILS = ("gmail.com", "GMX.de", "g%_\\mail", "ünal.example", None)
DEVICES = ("Windows", "windows 10", "SM-G930V", "é", None)


def varied_flags() -> list[Flag]:
    """Flags that differ in every filtered field, in a mixed order."""
    found = []
    for i in range(60):
        context = make_context(
            TransactionAmt=None if i % 11 == 0 else float(i * 7 % 50),
            ProductCD=("W", "C", None)[i % 3],
            card1=None if i % 13 == 0 else float(i % 5 + 12),
            addr1=None if i % 2 else 315.5,
            P_emaildomain=EMAILS[i % 5],
            DeviceInfo=DEVICES[i // 5 % 5],
        )
        reasons = [
            {"feature": name, "value": None, "contribution": 1.0} for name in ("C1", f"D{i % 4}")
        ]
        flag = make_flag(
            i // 2,
            scored_at=NOW - i * 7 % 20 * HOUR,
            partition=i % 2,
            topic="transactions" if i % 7 else "other",
            score=0.4 + i % 10 / 20,
            transaction_id=(i * 37, 3_000_000 + i, -i)[i % 3],
            model_version=f"v{i % 3}",
            reasons=reasons,
            context=context,
        )
        found.append(flag)
    return found


FLAGS = varied_flags()
OPTIONS: dict[str, list[Any]] = {
    "min_score": [0.4, 0.6, 0.85],
    "max_score": [0.4, 0.6, 0.85],
    "min_amount": [-1.0, 0.0, 21.0],
    "max_amount": [0.0, 21.0, 49.0],
    "product": ["W", "C", "X"],
    "card1": [12.0, 14.0, 99.0],
    "addr1": [315.5, 1.0],
    "email": [*(e for e in EMAILS if e), "GMAIL.COM"],
    "device": [*(d for d in DEVICES if d), "WINDOWS"],
    "decision": ["REVIEW", "BLOCK"],
    "model": ["v1", "v9"],
    "reason": ["C1", "D1", "D", "C1\nD1"],
    "status": ["open", "mine", "decided"],
    "since": ["5h", str(NOW - 9 * HOUR), "2026-11-18"],
    "until": ["3h", "2026-11-18T10:06Z", "2026-11-18 10:06:30"],
    "transaction_id": [37, 3_000_001],
    "q": ["3", "30000", "0", "00", "12", "13.0", "g", "G%", "win", "ü", "É", "-"],
}


def some_selections(count: int) -> list[Selection]:
    """Every filter alone, and ``count`` combinations."""
    pick = random.Random(1)
    alone = [Selection(**{name: value}) for name, values in OPTIONS.items() for value in values]
    combined = [
        Selection(**{name: pick.choice(OPTIONS[name]) for name in pick.sample(list(OPTIONS), 2)})
        for _ in range(count)
    ]
    return [Selection(), *alone, *combined]
