"""The bundle: only what was published loads."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_scorer.errors import ArtifactCorrupt, ArtifactError, ArtifactIncompatible
from stream_scorer.model.bundle import (
    FORMAT,
    READABLE_FORMATS,
    Draft,
    Thresholds,
    build_files,
    load_bundle,
)
from stream_scorer.model.forest.lightgbm_model import LightGBMModel
from stream_scorer.model.forest.predictor import ForestPredictor
from stream_scorer.model.signing import (
    generate_key_pair,
    load_signing_key,
    parse_trusted_keys,
    sign,
)
from tests.support.factories import make_batch, make_bundle, make_draft, make_files

Files = dict[str, bytes]
Metadata = dict[str, Any]


def edited(edit: Callable[[Metadata], object], files: Files | None = None) -> Files:
    """The files with another metadata.json."""
    files = files or make_files()
    metadata = json.loads(files["metadata.json"])
    edit(metadata)
    return files | {"metadata.json": json.dumps(metadata).encode()}


def with_file(name: str, content: bytes) -> Files:
    """The files with another pickle, whose digest is in the metadata."""
    digest = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return edited(lambda m: m["files"].update({name: digest}), make_files() | {name: content})


def with_model(text: object) -> Files:
    return with_file("model.pkl", pickle.dumps({"format": FORMAT, "lightgbm": text}, 5))


def test_what_was_built_loads_and_scores_alike() -> None:
    draft, bundle = make_draft(), make_bundle()
    assert bundle.version == "v1"
    assert bundle.thresholds == draft.thresholds
    assert isinstance(bundle.predictor, ForestPredictor)
    matrix = bundle.features.transform(make_batch(50, 7))
    assert np.array_equal(matrix, draft.features.transform(make_batch(50, 7)), equal_nan=True)
    assert np.array_equal(bundle.predictor.raw(matrix), LightGBMModel(draft.model_text).raw(matrix))


def test_metadata_has_the_documented_fields() -> None:
    metadata = json.loads(make_files("v7")["metadata.json"])
    assert metadata["version"] == "v7"
    files = make_files("v7")
    for name in ("model.pkl", "preprocessor.pkl"):
        assert metadata["files"][name]["sha256"] == hashlib.sha256(files[name]).hexdigest()
        assert metadata["files"][name]["bytes"] == len(files[name])
    assert metadata["features"]["names"] == list(make_draft().features.names)
    assert metadata["libraries"]["lightgbm"] == lightgbm.__version__
    assert metadata["metrics"] == {"note": "made by a test"}
    assert {"python", "schema_fingerprint", "thresholds", "golden"} <= metadata.keys()


def test_files_do_not_depend_on_when_they_are_built() -> None:
    model, rest = build_files(make_draft())
    assert {"model.pkl": model, **rest("v1")} == make_files()


def test_facts_add_to_the_thresholds_and_never_replace_them() -> None:
    facts = {"thresholds": {"split": "validation", "review": 0.0, "block": 0.0}}
    model, rest = build_files(replace(make_draft(), facts=facts))
    bundle = load_bundle({"model.pkl": model, **rest("v1")}, "v1")
    assert bundle.thresholds == Thresholds(0.5, 0.9)
    assert bundle.metadata["thresholds"]["split"] == "validation"


@pytest.mark.parametrize("name", ["version", "golden", "files", "features"])
def test_facts_must_not_override_the_bundles_own_fields(name: str) -> None:
    _, rest = build_files(replace(make_draft(), facts={name: 1}))
    with pytest.raises(ValueError, match=name):
        rest("v1")


@pytest.mark.parametrize("name", ["model.pkl", "preprocessor.pkl"])
def test_flipped_byte_anywhere_in_a_pickle_is_corrupt(name: str) -> None:
    files = make_files()
    for place in np.linspace(0, len(files[name]) - 1, 7).astype(int).tolist():
        content = bytearray(files[name])
        content[place] ^= 1
        with pytest.raises(ArtifactCorrupt, match=f"{name} has sha256"):
            load_bundle(files | {name: bytes(content)}, "v1")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 7))
def test_flipped_bit_anywhere_in_the_metadata_is_refused_or_harmless(at: int, bit: int) -> None:
    content = bytearray(make_files()["metadata.json"])
    content[at % len(content)] ^= 1 << bit
    try:
        bundle = load_bundle(make_files() | {"metadata.json": bytes(content)}, "v1")
    except ArtifactError:
        return
    # Unchecked fields (a metric, a person's name) do not change a score either.
    matrix = bundle.features.transform(make_batch(20, 7))
    assert np.array_equal(bundle.predictor.raw(matrix), make_bundle().predictor.raw(matrix))


@pytest.mark.parametrize("name", ["model.pkl", "preprocessor.pkl", "metadata.json"])
def test_missing_file_is_named(name: str) -> None:
    files = {k: v for k, v in make_files().items() if k != name}
    with pytest.raises(ArtifactCorrupt, match=f"version v1 has no {name}"):
        load_bundle(files, "v1")


@pytest.mark.parametrize("name", ["model.pkl", "preprocessor.pkl", "metadata.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\x80\x05.", b"\xff" * 100])
def test_file_replaced_by_something_else_is_corrupt(name: str, content: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        load_bundle(make_files() | {name: content}, "v1")


def test_metadata_of_another_version_is_corrupt() -> None:
    with pytest.raises(ArtifactCorrupt, match="belongs to another version"):
        load_bundle(make_files("v2"), "v1")


def test_pickles_of_another_version_are_corrupt() -> None:
    other = make_files("v1", seed=2)
    with pytest.raises(ArtifactCorrupt, match=r"model\.pkl has sha256"):
        load_bundle(make_files() | {"model.pkl": other["model.pkl"]}, "v1")


@pytest.mark.parametrize(
    "text",
    [
        b"[]", b"null", b'"v1"', b"1", b"[" * 100_000, b'{"version": "v1"', b"\xff\xfe",
        b'{"version": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_metadata_that_is_not_an_object_is_corrupt(text: bytes) -> None:
    with pytest.raises(ArtifactCorrupt):
        load_bundle(make_files() | {"metadata.json": text}, "v1")


def put(*path: str | int, value: Any) -> Callable[[Metadata], None]:
    def edit(metadata: Any) -> None:
        for part in path[:-1]:
            metadata = metadata[part]
        metadata[path[-1]] = value

    return edit


INCOMPATIBLE = {
    "a later format": put("format", value=max(READABLE_FORMATS) + 1),
    "no format": put("format", value=True),
    "a format that is a list": put("format", value=[FORMAT]),
    "features of format 1 that are others": lambda m: m.update(
        format=1, features={"fingerprint": "0" * 64}
    ),
    "an unknown operation": put("features", "operations", value=["copy/1", "sorcery/1"]),
    "an unknown version of an operation": put("features", "operations", value=["copy/9"]),
    "an unknown schema": put("schema_fingerprint", value="0" * 16),
    "a schema that is a list": put("schema_fingerprint", value=["x"]),
    "an older lightgbm": put("libraries", "lightgbm", value="3.3.5"),
    "a newer lightgbm": put("libraries", "lightgbm", value="44.0.0"),
    "no libraries": put("libraries", value=None),
    "a golden raw score changed": put("golden", "raw", 3, value=0.25),
    "a golden raw score by one ulp": lambda m: put(
        "golden", "raw", 3, value=float(np.nextafter(m["golden"]["raw"][3], np.inf))
    )(m),
    "a golden score changed": put("golden", "scores", 3, value=0.25),
    "a golden score is negative": lambda m: put(
        "golden", "scores", 0, value=-m["golden"]["scores"][0]
    )(m),
    "a golden row changed": put("golden", "rows", 0, "TransactionAmt", value=1e6),
}


@pytest.mark.parametrize("what", list(INCOMPATIBLE))
def test_bundle_for_other_code_is_incompatible(what: str) -> None:
    with pytest.raises(ArtifactIncompatible):
        load_bundle(edited(INCOMPATIBLE[what]), "v1")


HUGE = 10**400  # a JSON number that no double holds
CORRUPT = {
    "other features": put("features", "fingerprint", value="0" * 64),
    "other names of features": put("features", "names", 7, value="another"),
    "another program": put("features", "program", value="another/1"),
    "no features": put("features", value=None),
    "features without operations": lambda m: m["features"].pop("operations"),
    "operations that are numbers": put("features", "operations", value=[1]),
    "no digests": put("files", value={}),
    "digests are a list": put("files", value=[]),
    "a digest is a number": put("files", "model.pkl", "sha256", value=7),
    "thresholds are missing": lambda m: m.pop("thresholds"),
    "a threshold is missing": lambda m: m["thresholds"].pop("block"),
    "a threshold is NaN": put("thresholds", "review", value=float("nan")),
    "the block threshold is NaN": put("thresholds", "block", value=float("nan")),
    "a threshold is infinite": put("thresholds", "block", value=float("inf")),
    "a threshold is negative": put("thresholds", "review", value=-0.1),
    "a threshold is text": put("thresholds", "review", value="high"),
    "a threshold is null": put("thresholds", "review", value=None),
    "a threshold is huge": put("thresholds", "block", value=HUGE),
    "thresholds are a list": put("thresholds", value=[0.5, 0.9]),
    "blocking comes before reviewing": put("thresholds", "block", value=0.1),
    "no golden rows": lambda m: m.pop("golden"),
    "golden is a list": put("golden", value=[]),
    "golden rows are empty": put("golden", value={"rows": [], "raw": [], "scores": []}),
    "golden rows are numbers": put("golden", "rows", value=list(range(16))),
    "golden rows are an object": put("golden", "rows", value={"a": 1}),
    "golden rows are null": put("golden", "rows", value=None),
    "golden rows are text": put("golden", "rows", value="x" * 16),
    "a golden row has an unknown field": put("golden", "rows", 0, "V999", value=1.0),
    "a golden row has no amount": lambda m: m["golden"]["rows"][0].pop("TransactionAmt"),
    "a golden row is infinite": put("golden", "rows", 0, "V1", value=float("inf")),
    "a golden row is huge": put("golden", "rows", 0, "V1", value=HUGE),
    "a golden score too few": lambda m: m["golden"]["scores"].pop(),
    "golden raw scores are text": put("golden", "raw", value=["a"] * 16),
    "golden raw scores are nested": put("golden", "raw", value=[[1.0]] * 16),
    "golden raw scores are ragged": put("golden", "raw", value=[[1.0], []] * 8),
    "golden scores are pairs": put("golden", "scores", value=[[0.5, 0.5]] * 16),
    "a golden raw score is huge": put("golden", "raw", 0, value=HUGE),
    "a golden raw score is null": put("golden", "raw", 0, value=None),
    "a golden score is NaN": put("golden", "scores", 0, value=float("nan")),
    "a golden score is infinite": put("golden", "scores", 0, value=float("inf")),
    "golden scores are a number": put("golden", "scores", value=3),
}


@pytest.mark.parametrize("what", list(CORRUPT))
def test_damaged_metadata_is_corrupt(what: str) -> None:
    with pytest.raises(ArtifactCorrupt):
        load_bundle(edited(CORRUPT[what]), "v1")


PICKLES: dict[str, object] = {
    "a list": [],
    "another format": {"format": 1},
    "nothing": {"format": FORMAT},
    "a number for a model": {"format": FORMAT, "lightgbm": 3, "features": 3},
    "no model": {"format": FORMAT, "lightgbm": "tree\nnothing", "features": {}},
    "a path": Path("/tmp"),
    "an exception": ValueError("x"),
    "a function": os.getcwd,
    "an array": np.zeros(3),
}


@pytest.mark.parametrize("name", ["model.pkl", "preprocessor.pkl"])
@pytest.mark.parametrize("what", list(PICKLES))
def test_pickle_of_something_else_is_corrupt(what: str, name: str) -> None:
    with pytest.raises(ArtifactCorrupt):
        load_bundle(with_file(name, pickle.dumps(PICKLES[what], 5)), "v1")


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["model.pkl", "preprocessor.pkl"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_malicious_pickle_is_inert(name: str, protocol: int, tmp_path: Path) -> None:
    trace = tmp_path / "was-here"
    content = pickle.dumps({"format": FORMAT, "lightgbm": _Payload(trace)}, protocol)
    with pytest.raises(ArtifactCorrupt):
        load_bundle(with_file(name, content), "v1")
    assert not trace.exists()
    pickle.loads(content)
    assert trace.exists()  # so the attack works with pickle


def test_invalid_feature_state_is_corrupt() -> None:
    state = make_draft().features.state()
    broken: object
    for broken in ({}, None, [], state | {"rows": 0}, state | {"tables": []}):
        content = pickle.dumps({"format": FORMAT, "features": broken}, 5)
        with pytest.raises(ArtifactCorrupt, match=r"preprocessor\.pkl: "):
            load_bundle(with_file("preprocessor.pkl", content), "v1")


def test_operation_that_only_later_code_has_is_incompatible_and_named() -> None:
    state = make_draft().features.state()
    for field, value, said in (("op", "sorcery", "sorcery"), ("version", 9, "version 1, not 9")):
        operations = [dict(operation) for operation in state["program"]["operations"]]
        operations[2][field] = value
        later = state | {"program": state["program"] | {"operations": operations}}
        content = pickle.dumps({"format": FORMAT, "features": later}, 5)
        with pytest.raises(ArtifactIncompatible, match=f"operation 3 .*{said}"):
            load_bundle(with_file("preprocessor.pkl", content), "v1")


def test_metadata_names_the_program_and_its_operations() -> None:
    features = json.loads(make_files()["metadata.json"])["features"]
    assert features["program"] == "ieee-cis/1"
    assert features["operations"] == list(make_draft().features.program.semantics)
    assert "share/1" in features["operations"]


def test_calibration_is_not_ignored() -> None:
    model = pickle.loads(make_files()["model.pkl"]) | {"calibration": {"x": [0.0], "y": [0.0]}}
    with pytest.raises(ArtifactCorrupt, match="calibration"):
        load_bundle(with_file("model.pkl", pickle.dumps(model, 5)), "v1")


def test_model_with_other_columns_is_incompatible() -> None:
    text = make_draft().model_text.replace("TransactionAmt ", "Amount ", 1)
    with pytest.raises(ArtifactIncompatible, match="different columns"):
        load_bundle(with_model(text), "v1")


def test_model_whose_trees_are_fewer_fails_its_golden_rows() -> None:
    head, _, _ = make_draft().model_text.partition("\nTree=19")
    with pytest.raises(ArtifactIncompatible, match="golden rows do not get the scores"):
        load_bundle(with_model(head + "\nend of trees\n"), "v1")


def test_model_with_a_mangled_tree_is_corrupt() -> None:
    text = make_draft().model_text
    for broken in (text.replace("left_child=", "left_child=0 ", 1), text[: len(text) // 3], ""):
        with pytest.raises(ArtifactError):
            load_bundle(with_model(broken), "v1")


def other_draft(**params: Any) -> Draft:
    """A draft of another kind of model on the same features."""
    draft, batch = make_draft(), make_batch(200)
    matrix = draft.features.transform(batch)
    label = (batch.numbers[:, 0] > np.median(batch.numbers[:, 0])).astype(int)
    options = {"objective": "binary", "verbosity": -1, "num_threads": 1, "num_leaves": 4} | params
    names = list(draft.features.names)
    data = lightgbm.Dataset(matrix, label, feature_name=names, params=options)
    return replace(draft, model_text=lightgbm.train(options, data, 3).model_to_string())


def test_model_that_the_compiled_loops_do_not_support_is_served_by_lightgbm() -> None:
    draft = other_draft(boosting="rf", bagging_freq=1, bagging_fraction=0.5)
    model, rest = build_files(draft)
    bundle = load_bundle({"model.pkl": model, **rest("v1")}, "v1")
    assert isinstance(bundle.predictor, LightGBMModel)


@pytest.mark.parametrize(
    "params",
    [
        {"objective": "regression"},
        {"sigmoid": 2.0},
        {"objective": "multiclass", "num_class": 2},
    ],
)
def test_model_whose_raw_score_is_not_log_odds_is_neither_built_nor_loaded(
    params: dict[str, Any],
) -> None:
    draft = other_draft(**params)
    with pytest.raises(ArtifactIncompatible, match="log-odds"):
        build_files(draft)
    with pytest.raises(ArtifactIncompatible, match="log-odds"):
        load_bundle(with_model(draft.model_text), "v1")


def test_model_that_cannot_give_reasons_is_incompatible() -> None:
    draft = other_draft(linear_tree=True)
    with pytest.raises(ArtifactIncompatible, match="cannot explain"):
        build_files(draft)
    with pytest.raises(ArtifactIncompatible, match="cannot explain"):
        load_bundle(with_model(draft.model_text), "v1")


@pytest.mark.parametrize("thresholds", [(0.9, 0.5), (float("nan"), 0.9), (0.5, float("inf"))])
def test_thresholds_that_a_loader_would_refuse_are_not_built(
    thresholds: tuple[float, float],
) -> None:
    with pytest.raises(ValueError, match="thresholds"):
        build_files(replace(make_draft(), thresholds=Thresholds(*thresholds)))


Signed = Callable[[str], tuple[Files, tuple[bytes, ...]]]


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    """A version's files signed with a new key, and the public key that trusts them."""

    def make(version: str) -> tuple[Files, tuple[bytes, ...]]:
        pair, path = generate_key_pair(), tmp_path / "key.pem"
        path.write_bytes(pair.private_pem)
        signature = sign(make_files(version)["metadata.json"], load_signing_key(path))
        files = make_files(version) | {"metadata.json.sig": signature}
        return files, parse_trusted_keys(pair.public_base64)

    return make


def test_signed_bundle_loads_with_its_key_and_without_any(signed: Signed) -> None:
    files, keys = signed("v1")
    other = parse_trusted_keys(generate_key_pair().public_base64)
    assert load_bundle(files, "v1", keys).version == "v1"
    assert load_bundle(files, "v1", other + keys).version == "v1"
    assert load_bundle(files, "v1").version == "v1"


def test_unsigned_or_wrongly_signed_bundle_is_refused_if_keys_are_set(signed: Signed) -> None:
    files, keys = signed("v1")
    other = parse_trusted_keys(generate_key_pair().public_base64)
    flipped = bytes([files["metadata.json.sig"][0] ^ 1]) + files["metadata.json.sig"][1:]
    for attempt, trusted in (
        (make_files(), keys),
        (files, other),
        (files | {"metadata.json.sig": flipped}, keys),
        (files | {"metadata.json.sig": b""}, keys),
        (files | {"metadata.json": files["metadata.json"] + b" "}, keys),
    ):
        with pytest.raises(ArtifactCorrupt, match="sign"):
            load_bundle(attempt, "v1", trusted)


def test_signature_of_another_version_does_not_help(signed: Signed) -> None:
    files, keys = signed("v1")
    with pytest.raises(ArtifactCorrupt, match="sign"):
        load_bundle(
            make_files("v2") | {"metadata.json.sig": files["metadata.json.sig"]}, "v2", keys
        )
