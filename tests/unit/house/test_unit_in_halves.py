"""``make test-unit`` runs every unit test once."""

from __future__ import annotations

from pathlib import Path

from tests.unit_in_halves import FIRST_HALF, UNIT, halves


def test_halves_are_all_unit_tests_once() -> None:
    first, second = halves()
    assert len(first) == len(FIRST_HALF)
    assert set(first).isdisjoint(second)
    files = [p for folder in first + second for p in Path(folder).rglob("test_*.py")]
    assert sorted(files) == sorted(UNIT.rglob("test_*.py"))
