"""Bundles that earlier releases published: they load, and every bit of them is as it was.

``data/bundle-format-1`` was made on synthetic rows before features were data. Its table of means
has a key of zero, its vocabularies have UTF-8 and strings at the limit, and its rows have missing,
empty, negative-zero, huge and unseen values.
"""

from __future__ import annotations

import json
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from schemas.batch import TransactionBatch
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.scoring import score

FORMAT_1 = Path(__file__).parent / "data" / "bundle-format-1"
FILES = ("metadata.json", "model.pkl", "preprocessor.pkl")
COLUMNS = ("ids", "times", "event_times", "numbers", "text", "starts", "lengths")


def published(folder: Path) -> Bundle:
    """The bundle as any loader gets it; only the version of LightGBM is the installed one."""
    files = {name: (folder / name).read_bytes() for name in FILES}
    metadata = json.loads(files["metadata.json"])
    metadata["libraries"]["lightgbm"] = installed("lightgbm")
    return load_bundle(files | {"metadata.json": json.dumps(metadata).encode()}, "v1")


@pytest.fixture(scope="module")
def expected() -> dict[str, NDArray[np.generic]]:
    with np.load(FORMAT_1 / "expected.npz") as stored:
        return dict(stored)


def same_bits(a: NDArray[np.float64], b: NDArray[np.generic]) -> bool:
    return bool(np.array_equal(a.view(np.uint64), b.view(np.uint64)))


def test_every_feature_and_score_of_format_1_has_the_bits_it_was_published_with(
    expected: dict[str, NDArray[np.generic]],
) -> None:
    bundle = published(FORMAT_1)
    batch = TransactionBatch(**{name: expected[name] for name in COLUMNS})  # type: ignore[arg-type]
    matrix = bundle.features.transform(batch)
    assert matrix.shape == expected["matrix"].shape == (len(batch), len(bundle.features.names))
    different = (matrix.view(np.uint64) != expected["matrix"].view(np.uint64)).any(axis=0)
    assert [n for n, d in zip(bundle.features.names, different, strict=True) if d] == []
    assert same_bits(bundle.predictor.raw(matrix), expected["raw"])
    assert same_bits(score(batch, bundle).raw, expected["raw"])


def test_stored_rows_of_format_1_use_every_kind_of_feature(
    expected: dict[str, NDArray[np.generic]],
) -> None:
    """Else equal bits would prove little."""
    matrix = expected["matrix"].view(np.float64)
    names = json.loads((FORMAT_1 / "metadata.json").read_text())["features"]["names"]

    def values(name: str) -> set[float]:
        return set(matrix[:, names.index(name)].tolist())

    assert len(matrix) > 50
    assert len({round(value, 12) for value in expected["raw"].tolist()}) > 50
    for name in ("ProductCD", "card4", "P_emaildomain"):
        assert {-1.0, 0.0, 1.0} <= values(name)
    for name in ("card1_frequency", "P_emaildomain_frequency", "card1_addr1_frequency"):
        assert 0.0 in values(name)
        assert len(values(name)) > 5
    assert len(values("TransactionAmt_to_addr1_mean")) > 10
    assert {0.0, 1.0} <= values("amount_has_fraction_of_cent") & values("email_domains_equal")
    numbers = expected["numbers"].view(np.float64)
    assert np.isnan(numbers).any()
    assert (np.signbit(numbers) & (numbers == 0)).any()
