"""Risk is visible from lightness alone, and its words can be read: WCAG 2.2 and CIE76.

Colour blindness is simulated as in Machado, Oliveira, Fernandes (2009), severity 1, on linear RGB.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

import dashboard

Floats = NDArray[np.float64]

STYLE: Final = (Path(dashboard.__file__).parent / "static/style.css").read_text()
BANDS: Final = ("low", "elevated", "high", "critical")
LINEAR_TO_XYZ: Final = np.array(
    [[0.4124564, 0.3575761, 0.1804375],
     [0.2126729, 0.7151522, 0.0721750],
     [0.0193339, 0.1191920, 0.9503041]]
)  # fmt: skip
WHITE: Final = LINEAR_TO_XYZ @ np.ones(3)  # D65
SEEN: Final = {
    "normal": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868],
                        [0.114503, 0.786281, 0.099216],
                        [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968],
                        [0.280085, 0.672501, 0.047413],
                        [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779],
                        [-0.078411, 0.930809, 0.147602],
                        [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def colours(band: str) -> tuple[Floats, Floats]:
    """Background and text of a band's badge, as linear RGB."""
    found = re.search(rf"\.risk\.{band} {{ background: (#\w+); color: (#\w+);", STYLE)
    assert found, band
    background, text = (linear(code) for code in found.groups())
    return background, text


def linear(code: str) -> Floats:
    digits = code[1:] if len(code) == 7 else "".join(2 * digit for digit in code[1:])
    value = np.array(list(bytes.fromhex(digits)), np.float64) / 255
    found: Floats = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return found


def luminance(colour: Floats) -> float:
    return float((LINEAR_TO_XYZ @ colour)[1])


def contrast(one: Floats, other: Floats) -> float:
    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def lab(colour: Floats) -> Floats:
    t = (LINEAR_TO_XYZ @ np.clip(colour, 0, 1)) / WHITE
    x, y, z = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize(
    ("band", "least"), [("low", 13.0), ("elevated", 10.7), ("high", 7.6), ("critical", 8.9)]
)
def test_words_of_a_band_can_be_read(band: str, least: float) -> None:
    assert round(contrast(*colours(band)), 1) >= least


def test_bands_are_ordered_by_lightness() -> None:
    found = [luminance(colours(band)[0]) for band in BANDS]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("seen", "least"), [("normal", 36), ("deutan", 33), ("protan", 34), ("tritan", 20)]
)
def test_bands_differ_for_everyone(seen: str, least: float) -> None:
    labs = [lab(SEEN[seen] @ colours(band)[0]) for band in BANDS]
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(labs, 2))
    assert round(float(nearest)) >= least


def test_critical_badge_has_a_border_on_a_dark_page() -> None:
    found: Any = re.search(r"--critical-line: light-dark\(transparent, (#\w+)\)", STYLE)
    page: Any = re.search(r"--page: light-dark\(#\w+, (#\w+)\)", STYLE)
    assert contrast(linear(found[1]), linear(page[1])) >= 3
