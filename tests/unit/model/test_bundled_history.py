"""Bundles whose features read card history: no machine that computes it otherwise loads them."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream_scorer.errors import ArtifactCorrupt, ArtifactIncompatible
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import HISTORY_VERSION
from stream_scorer.model import bundle as bundle_module
from stream_scorer.model.bundle import FORMAT, HISTORY_FORMAT, build_files, load_bundle
from stream_scorer.model.bundled_history import (
    HistoryDraft,
    SeedFacts,
    history_facts,
    plain_values,
    read_seed_facts,
    read_values,
)
from stream_scorer.model.scoring import score
from tests.support.factories import make_draft, make_files
from tests.support.training.history_kit import (
    make_history_draft,
    make_history_files,
    make_spec,
    same_bits,
)

Files = dict[str, bytes]
SPEC = make_spec()
SEED = SeedFacts("ab" * 32, 1000, 86_400, {"client": 3, "mail": 2})


def edited(edit: Callable[[Any], object], files: Files | None = None) -> Files:
    files = make_history_files() if files is None else files
    metadata = json.loads(files["metadata.json"])
    edit(metadata)
    return files | {"metadata.json": json.dumps(metadata).encode()}


def with_format(files: Files, layout: int) -> Files:
    """The same version, said to be of another format in all of its files."""
    pickles = {
        name: pickle.dumps(pickle.loads(files[name]) | {"format": layout}, 5)
        for name in ("model.pkl", "preprocessor.pkl")
    }

    def edit(metadata: dict[str, Any]) -> None:
        metadata["format"] = layout
        for name, content in pickles.items():
            metadata["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()

    return edited(edit, files | pickles)


def put(*path: str | int, value: Any) -> Callable[[Any], None]:
    def edit(metadata: Any) -> None:
        for part in path[:-1]:
            metadata = metadata[part]
        metadata[path[-1]] = value

    return edit


def test_version_loads_and_its_scores_depend_on_the_history() -> None:
    draft, bundle = make_history_draft(), load_bundle(make_history_files(), "v1")
    assert bundle.features.program.history == SPEC
    scores = score(draft.golden, bundle)
    assert scores.raw.tolist() == bundle.metadata["golden"]["raw"]
    without = score(draft.golden.with_history(None), bundle)
    assert not np.array_equal(scores.raw, without.raw)


def test_metadata_describes_the_history() -> None:
    draft = replace(make_history_draft(), history=HistoryDraft(stream(), SEED))
    metadata = json.loads(build_files(draft)[1]("v1")["metadata.json"])
    assert metadata["format"] == HISTORY_FORMAT == 3
    history = metadata["history"]
    assert history["spec"] == SPEC.plain()
    assert history["fingerprint"] == SPEC.fingerprint
    assert history["version"] == HISTORY_VERSION
    assert history["seed"] == {
        "sha256": "ab" * 32, "bytes": 1000, "as_of": 86_400, "keys": {"client": 3, "mail": 2},
    }  # fmt: skip
    assert len(history["stream"]["rows"]) == len(history["stream"]["features"]) == 64
    assert len(metadata["golden"]["history"]) == len(metadata["golden"]["rows"]) == 40
    assert f"history/{HISTORY_VERSION}" in metadata["features"]["operations"]
    assert read_seed_facts(metadata) == SEED


def stream() -> Any:
    draft = make_history_draft().history
    assert draft is not None
    return draft.stream


def test_stateless_versions_keep_their_format_and_have_no_history() -> None:
    metadata = json.loads(make_files()["metadata.json"])
    assert metadata["format"] == FORMAT == 2
    assert "history" not in metadata
    assert "history" not in metadata["golden"]
    assert read_seed_facts(metadata) is None


def test_release_without_history_refuses_the_version_by_its_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle_module, "READABLE_FORMATS", (1, 2))
    with pytest.raises(ArtifactIncompatible) as caught:
        load_bundle(make_history_files(), "v1")
    assert str(caught.value) == "version v1 has bundle format 3; this code reads 1, 2"
    load_bundle(make_files(), "v1")


@pytest.mark.parametrize(
    ("files", "layout", "message"),
    [
        (make_history_files, 2, "the features have card history, and the bundle has format 2"),
        (make_files, 3, "the features have no card history, and the bundle has format 3"),
    ],
)
def test_format_and_features_agree(files: Callable[[], Files], layout: int, message: str) -> None:
    with pytest.raises(ArtifactCorrupt, match=message):
        load_bundle(with_format(files(), layout), "v1")


@pytest.mark.parametrize("up", [True, False])
def test_one_bit_of_one_feature_refuses_the_version_and_is_named(up: bool) -> None:
    metadata = json.loads(make_history_files()["metadata.json"])
    cells = metadata["history"]["stream"]["features"]
    known = [(r, c) for r, row in enumerate(cells) for c, v in enumerate(row) if v is not None]
    assert len(known) > 64 * len(SPEC.names) // 2
    for row, column in known[:: len(known) // 7]:
        before = cells[row][column]
        after = float(np.nextafter(before, np.inf if up else -np.inf))
        files = edited(put("history", "stream", "features", row, column, value=after))
        with pytest.raises(ArtifactIncompatible) as caught:
            load_bundle(files, "v1")
        message = str(caught.value)
        expected = f"{SPEC.names[column]} of transaction {row + 1} of the golden stream is "
        assert f"{expected}{before!r} here and was {after!r} in training" in message
        assert (
            "serve this version with the release and the image that it was trained with" in message
        )


def test_zero_with_the_other_sign_is_another_bit() -> None:
    metadata = json.loads(make_history_files()["metadata.json"])
    cells = metadata["history"]["stream"]["features"]
    row, column = next((r, c) for r, one in enumerate(cells) for c, v in enumerate(one) if v == 0.0)
    files = edited(put("history", "stream", "features", row, column, value=-0.0))
    with pytest.raises(ArtifactIncompatible, match=r"is 0\.0 here and was -0\.0 in training"):
        load_bundle(files, "v1")


def test_missing_value_is_not_any_value() -> None:
    metadata = json.loads(make_history_files()["metadata.json"])
    cells = metadata["history"]["stream"]["features"]
    row, column = next(
        (r, c) for r, one in enumerate(cells) for c, v in enumerate(one) if v is None
    )
    files = edited(put("history", "stream", "features", row, column, value=1.5))
    with pytest.raises(ArtifactIncompatible, match=r"is no value here and was 1\.5 in training"):
        load_bundle(files, "v1")


def test_state_that_differs_where_no_feature_shows_it_refuses_the_version() -> None:
    files = edited(put("history", "stream", "check_sum", value="0" * 16))
    with pytest.raises(ArtifactIncompatible, match=r"has check sum .* and had 0000000000000000"):
        load_bundle(files, "v1")


def test_machine_that_computes_otherwise_refuses_the_version_and_names_its_libraries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = edited(put("libraries", "numba", value="0.1.0"))
    load_bundle(files, "v1")  # another library alone is no reason
    step = PartitionHistory.step

    def rounded(self: Any, batch: Any, rows: Any, advances: Any, out: Any) -> Any:
        undo = step(self, batch, rows, advances, out)
        out[:] = out.astype(np.float32)
        return undo

    monkeypatch.setattr(PartitionHistory, "step", rounded)
    with pytest.raises(
        ArtifactIncompatible, match=r"computes card history otherwise: .*; numba was"
    ):
        load_bundle(files, "v1")


def test_golden_rows_get_their_scores_from_the_history_they_carry() -> None:
    values = json.loads(make_history_files()["metadata.json"])["golden"]["history"]
    empty = [[None] * len(row) for row in values]
    with pytest.raises(ArtifactIncompatible, match="golden rows do not get the scores"):
        load_bundle(edited(put("golden", "history", value=empty)), "v1")


HUGE = 10**400
STREAM = ("history", "stream")
CORRUPT = {
    "no history": lambda m: m.pop("history"),
    "history is a list": put("history", value=[]),
    "another spec": put("history", "fingerprint", value="0" * 64),
    "no fingerprint": lambda m: m["history"].pop("fingerprint"),
    "no stream": lambda m: m["history"].pop("stream"),
    "the stream is a list": put(*STREAM, value=[]),
    "no rows": put(*STREAM, "rows", value=[]),
    "rows are text": put(*STREAM, "rows", value="x" * 64),
    "too many rows": lambda m: m["history"]["stream"].update(
        rows=m["history"]["stream"]["rows"] * 2, features=m["history"]["stream"]["features"] * 2
    ),
    "a row is a number": put(*STREAM, "rows", 0, value=1),
    "a row has an unknown field": put(*STREAM, "rows", 0, "V999", value=1.0),
    "a row has no amount": lambda m: m["history"]["stream"]["rows"][0].pop("TransactionAmt"),
    "a row fewer": lambda m: m["history"]["stream"]["rows"].pop(),
    "features are null": put(*STREAM, "features", value=None),
    "a row of features fewer": lambda m: m["history"]["stream"]["features"].pop(),
    "a feature fewer": lambda m: m["history"]["stream"]["features"][5].pop(),
    "a feature is text": put(*STREAM, "features", 5, 0, value="1"),
    "a feature is true": put(*STREAM, "features", 5, 0, value=True),
    "a feature is infinite": put(*STREAM, "features", 5, 0, value=float("inf")),
    "a feature is huge": put(*STREAM, "features", 5, 0, value=HUGE),
    "features of a row are an object": put(*STREAM, "features", 5, value={}),
    "no check sum": lambda m: m["history"]["stream"].pop("check_sum"),
    "a seed that is text": put("history", "seed", value="seed"),
    "a seed without a digest": put("history", "seed", value={"bytes": 1, "as_of": 1, "keys": {}}),
    "golden rows without history": lambda m: m["golden"].pop("history"),
    "golden rows with the history of fewer": lambda m: m["golden"]["history"].pop(),
    "golden history is huge": put("golden", "history", 0, 0, value=HUGE),
}


@pytest.mark.parametrize("what", list(CORRUPT))
def test_damaged_metadata_is_corrupt(what: str) -> None:
    with pytest.raises(ArtifactCorrupt):
        load_bundle(edited(CORRUPT[what]), "v1")


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "xy" * 32},
        {"sha256": 7},
        {"sha256": "../../" + "a" * 58},
        {"bytes": -1},
        {"bytes": 2**40},
        {"bytes": 1.5},
        {"as_of": 2**32},
        {"as_of": True},
        {"as_of": None},
        {"keys": {"client": -1}},
        {"keys": {"client": "3"}},
        {"keys": 3},
        {"keys": None},
    ],
)
def test_seed_that_cannot_be_used_is_corrupt(change: dict[str, Any]) -> None:
    seed = {"sha256": "ab" * 32, "bytes": 1, "as_of": 1, "keys": {"client": 1}}
    assert read_seed_facts({"history": {"seed": seed}}) is not None
    with pytest.raises(ArtifactCorrupt, match="seed"):
        read_seed_facts({"history": {"seed": seed | change}})


def test_draft_has_a_history_if_and_only_if_its_features_read_one() -> None:
    draft = make_history_draft()
    for wrong in (
        replace(draft, history=None),
        replace(draft, golden=draft.golden.with_history(None)),
        replace(make_draft(), history=draft.history),
    ):
        with pytest.raises(ValueError, match="need a golden stream and golden rows with their"):
            build_files(wrong)
    for rows in (slice(0, 0), slice(0, 65)):
        batch = draft.golden.take(np.arange(70) % 40).take(rows)
        with pytest.raises(ValueError, match="a golden stream has 1 to 64 transactions"):
            history_facts(SPEC, HistoryDraft(batch))


def test_values_survive_json_in_every_bit() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2**63, (64, len(SPEC.names))).view(np.float64)
    values[~np.isfinite(values)] = np.nan
    values[0, 0], values[0, 1], values[0, 2] = -0.0, 5e-324, np.nan
    again = read_values(json.loads(json.dumps(plain_values(values))), 64, SPEC)
    assert again.fingerprint == SPEC.fingerprint
    assert same_bits(again.values, values)
