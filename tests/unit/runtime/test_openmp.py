"""LightGBM's OpenMP library, on systems with and without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.hidden_openmp import without_openmp

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other systems need no libgomp")

_LOAD = """
import ctypes
try:
    ctypes.CDLL("libgomp.so.1")
    print("of the system")
except OSError:
    print("hidden")
from stream_scorer.runtime.openmp import load_openmp
"""

_FIT = """
import numpy as np
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from trainer.fitting.fit import fit_model, make_dataset
from trainer.fitting.plan import ModelPlan
plan = ModelPlan(trees=3, threads=2, min_rows_in_leaf=1)
matrix = np.linspace(0.0, 1.0, 400).reshape(200, 2)
labels = (matrix[:, 0] > 0.5).astype(np.int8)
data = make_dataset(matrix, labels, ("a", "b"), plan)
again = make_dataset(matrix, labels, ("a", "b"), plan, data)
fitted = fit_model(data, again, plan, lambda _: None)
raw = LightGBMModel(fitted.model_text).raw(matrix)
print(raw[-1] > raw[0])
"""

_NO_SKLEARN = """
import importlib.util
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "sklearn" else real(name)
"""


def run(code: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip


@linux_only
def test_lightgbm_trains_and_predicts_where_the_system_has_no_openmp(tmp_path: Path) -> None:
    done = run(_LOAD + _FIT, without_openmp(tmp_path))
    assert done.stdout.split() == ["hidden", "True"], done.stderr


@linux_only
def test_library_is_the_one_in_the_wheel_of_scikit_learn(tmp_path: Path) -> None:
    done = run(_LOAD + "print(load_openmp())", without_openmp(tmp_path))
    assert "scikit_learn.libs/libgomp-" in done.stdout, done.stderr


@linux_only
def test_library_of_the_system_comes_first() -> None:
    done = run(_LOAD + "print(load_openmp())")
    if done.stdout.startswith("hidden"):
        pytest.skip("this system has no libgomp.so.1")
    assert done.stdout.splitlines() == ["of the system", "libgomp.so.1"], done.stderr


@linux_only
def test_message_says_what_to_install_where_there_is_no_copy_either(tmp_path: Path) -> None:
    done = run(_LOAD + _NO_SKLEARN + "load_openmp()", without_openmp(tmp_path))
    assert "FatalError: LightGBM needs the library libgomp.so.1" in done.stderr
    assert "install the package libgomp1 (Debian, Ubuntu)" in done.stderr
