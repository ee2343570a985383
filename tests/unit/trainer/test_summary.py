"""The lines that a training run ends with."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.commands import train_run
from trainer.commands.console import DONE, FAILED, REFUSED
from trainer.commands.parser import build_parser
from trainer.commands.summary import describe_run
from trainer.settings import TrainerSettings


def make_result(**changes: Any) -> dict[str, Any]:
    at = {"share": 0.02, "precision": 0.5, "recall": 0.4}
    window = {"rows": 3000, "frauds": 100}
    result = {
        "version": "v3",
        "store": "file:///store",
        "promoted": True,
        "gate": {"notes": ["a note"], "refusals": []},
        "rows": 20_000,
        "trees": 150,
        "seconds": 9.5,
        "thresholds": {"review": 0.2, "block": 0.9},
        "metrics": {
            **window,
            "average_precision": 0.4,
            "average_precision_interval": (0.3, 0.5),
            "roc_auc": 0.9,
            "roc_auc_interval": (0.8, 0.95),
            "log_loss": 0.1,
            "top": {"0.02": at},
            "review": at,
            "block": at,
        },
        "evaluation": {
            "folds": [
                {"train": {"rows": n}, "test": window, "trees": 120, "average_precision": 0.41}
                for n in (9000, 12_000)
            ],
            "notes": ["evaluated in 2 of 3 test windows"],
        },
        "served": {"is_refit": True, "rows": 20_000, "trees": 150},
        "calibration": {
            "method": "isotonic",
            "reason": None,
            "before": {"expected_calibration_error": 0.03},
            "after": {"expected_calibration_error": 0.01},
        },
    }
    return result | changes


def lines_of(**changes: Any) -> str:
    return "\n".join(describe_run(make_result(**changes)))


def test_windows_calibration_and_refit_are_described() -> None:
    shown = lines_of()
    assert (
        "window 2: average precision 0.4100 on 3,000 rows with 100 frauds, after training on "
        "12,000 earlier rows (120 trees)" in shown
    )
    assert "evaluated in 2 of 3 test windows" in shown
    assert "calibration error 0.0300 before the map and 0.0100 after it" in shown
    assert "served: refit on all 20,000 rows with 150 trees" in shown


def test_a_run_without_a_map_or_a_refit_says_what_that_means() -> None:
    calibration: dict[str, Any] = {
        "method": None,
        "reason": "12 frauds",
        "before": {},
        "after": None,
    }
    served = {"is_refit": False, "rows": 14_000, "trees": 120}
    shown = lines_of(calibration=calibration, served=served)
    assert "scores are not probabilities: 12 frauds" in shown
    assert "learned from 14,000 of 20,000 rows and has not seen the newest ones" in shown


HISTORY = {
    "keys": {"client": 12_345, "mail": 999},
    "bytes_a_key": {"client": 312, "mail": 96},
    "burn_in": {"rows": 1800},
    "seed": {"sha256": "ab" * 32, "bytes": 45_200_000, "as_of": 15_811_131, "keys": {}},
}


def test_card_history_is_described() -> None:
    served = {"is_refit": True, "rows": 18_200, "trees": 150}
    shown = lines_of(history=HISTORY, served=served)
    assert "card history: 12,345 client keys of 312 bytes, 999 mail keys of 96 bytes" in shown
    assert "the first 1,800 rows only built it up; no model learned from them" in shown
    assert "seed: 45.2 MB, up to TransactionDT 15811131 (personal data)" in shown
    assert "refit on 18,200 of 20,000 rows with 150 trees" in shown
    assert "card history" not in lines_of()


def test_version_without_a_seed_says_what_that_means() -> None:
    shown = lines_of(history=HISTORY | {"seed": None})
    assert "no seed is published: scorers begin without card histories" in shown


@pytest.mark.parametrize(
    ("training_id", "has_passed", "flags", "code"),
    [
        (None, True, [], DONE),
        ("t", True, [], DONE),
        (None, False, [], FAILED),
        ("t", False, [], REFUSED),
        (None, False, ["--refused-is-success"], DONE),
        ("t", False, ["--refused-is-success"], DONE),
    ],
)
def test_training_that_somebody_runs_tells_refused_from_failed(
    training_id: str | None,
    has_passed: bool,
    flags: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = {"passed": has_passed, "refusals": [] if has_passed else ["worse"]}
    monkeypatch.setattr(train_run, "train", lambda *_, **__: {"version": "v1", "gate": gate})
    arguments = build_parser().parse_args(["train", "--synthetic", "10", "--json", *flags])
    assert arguments.run(arguments, TrainerSettings(training_id=training_id)) == code
