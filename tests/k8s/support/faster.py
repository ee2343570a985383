"""Rules and routes that wait less, and are otherwise the same: for tests of a few seconds.

Only the durations under :data:`WAITS` are divided. Windows are part of expressions, and stay; so do
limits, labels, receivers and everything else.
"""

from __future__ import annotations

import re
from typing import Any, Final

FACTOR: Final = 10_000
"""An hour becomes 360 ms, and half a day 4 s."""

WAITS: Final = frozenset({"interval", "for", "group_wait", "group_interval", "repeat_interval"})

LEAST_MS: Final = 200
"""Of an interval between evaluations: the sums of a week take some milliseconds."""

_UNITS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def faster(config: Any) -> Any:
    """The same configuration with its waits divided by :data:`FACTOR`."""
    if isinstance(config, list):
        return [faster(one) for one in config]
    if not isinstance(config, dict):
        return config
    return {key: _divided(key, value) if key in WAITS else faster(value)
            for key, value in config.items()}  # fmt: skip


def _divided(key: str, text: str) -> str:
    found = re.fullmatch(r"(\d+)([smhd])", text)
    assert found, f"{key}: {text} is no duration of one unit"
    least = LEAST_MS if key == "interval" else 1
    return f"{max(least, int(found[1]) * _UNITS[found[2]] // FACTOR)}ms"
