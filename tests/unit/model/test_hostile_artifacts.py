"""Malicious artifacts: refused with a clear error, inert, and cheap in memory and time."""

from __future__ import annotations

import copyreg
import hashlib
import io
import json
import os
import pickle
import random
import re
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from stream_scorer.errors import ArtifactError
from stream_scorer.model.bundle import FORMAT, load_bundle
from stream_scorer.model.serving.cache import BundleCache
from stream_scorer.model.serving.watcher import ModelWatcher
from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.model.unpickle import PickleLimits, load_pickle
from stream_scorer.runtime.json_limits import MAX_DEPTH, parse_object
from tests.support.factories import make_bundle, make_files, make_program, publish

FEATURES = make_program().names
PROTO = b"\x80\x04"
PICKLES = ("model.pkl", "preprocessor.pkl")


class Calls:
    """Pickles into a call, which must never happen."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def touching(proof: Path) -> Calls:
    return Calls(os.system, f"touch {proof}")


def hidden_in_joblib(proof: Path) -> bytes:
    file = io.BytesIO()
    joblib.dump({"a": np.array([touching(proof)], dtype=object)}, file)
    return file.getvalue()


def by_extension_code(proof: Path) -> bytes:
    copyreg.add_extension("posix", "system", 201)
    try:
        return PROTO + b"\x82\xc9" + pickle.dumps(f"touch {proof}", 4)[2:-1] + b"\x85R."
    finally:
        copyreg.remove_extension("posix", "system", 201)


ATTACKS: list[Any] = [
    pytest.param(lambda proof: pickle.dumps(touching(proof)), id="reduce"),
    pytest.param(lambda proof: pickle.dumps(touching(proof), 0), id="reduce, protocol 0"),
    pytest.param(
        lambda proof: pickle.dumps({"format": FORMAT, "lightgbm": [({"a": touching(proof)},)]}),
        id="nested",
    ),
    pytest.param(
        lambda proof: pickle.dumps(np.array([touching(proof)], dtype=object)), id="object array"
    ),
    pytest.param(hidden_in_joblib, id="object array in joblib"),
    pytest.param(by_extension_code, id="extension code"),
    pytest.param(
        lambda proof: b"cposix\nsystem\n(S'touch " + str(proof).encode() + b"'\ntR.", id="global"
    ),
    pytest.param(
        lambda proof: b"(S'touch " + str(proof).encode() + b"'\niposix\nsystem\n.", id="inst"
    ),
    pytest.param(
        lambda proof: b"(cposix\nsystem\nS'touch " + str(proof).encode() + b"'\no.", id="obj"
    ),
    pytest.param(
        lambda proof: pickle.dumps(
            {"format": FORMAT, "x": Calls(eval, f"open({str(proof)!r}, 'w')")}
        ),
        id="eval",
    ),
]


def with_file(name: str, content: bytes) -> dict[str, bytes]:
    """A version in which ``name`` is replaced, with matching digests, as its author could do."""
    files = dict(make_files())
    metadata = json.loads(files["metadata.json"])
    metadata["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()
    return files | {name: content, "metadata.json": json.dumps(metadata).encode()}


def with_metadata(change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    files = dict(make_files())
    metadata = json.loads(files["metadata.json"])
    change(metadata)
    return files | {"metadata.json": json.dumps(metadata).encode()}


@contextmanager
def cheap(megabytes: float, seconds: float = 60.0) -> Iterator[None]:
    """What happens inside takes no more memory, nor time of a processor; traced, so several times
    slower than it is.
    """
    tracemalloc.start()
    started = time.thread_time()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1e6
        assert time.thread_time() - started < seconds
    finally:
        tracemalloc.stop()


def refuse(files: Mapping[str, bytes], message: str | None = None) -> None:
    with pytest.raises(ArtifactError, match=message) as refused:
        load_bundle(files, "v1")
    assert len(str(refused.value)) < 2000, "a message nobody can read, and logs would keep"


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_malicious_pickle_with_the_right_digest_is_inert(
    tmp_path: Path, name: str, attack: Callable[[Path], bytes]
) -> None:
    proof = tmp_path / "proof"
    refuse(with_file(name, attack(proof)), "pickle")
    assert not proof.exists()


def test_malicious_version_does_not_replace_the_serving_one(tmp_path: Path) -> None:
    store = MemoryStore()
    publish(store)
    watcher = ModelWatcher(store, BundleCache(tmp_path / "cache"))
    watcher.tick()
    proof = tmp_path / "proof"
    files = with_file("model.pkl", pickle.dumps(touching(proof)))
    rest = {n: c.replace(b'"v1"', b'"v2"') for n, c in files.items() if n != "model.pkl"}
    store.publish(files["model.pkl"], lambda _: rest)
    store.promote("v2", store.current())
    watcher.tick()
    assert watcher.current is not None
    assert watcher.current.version == "v1"
    assert "posix.system" in (watcher.status.problem or "")
    assert not proof.exists()


def doubling(levels: int, opened: bytes, closed: bytes) -> bytes:
    """Each level contains the one below twice: walking it visits 2**levels values."""
    body = opened + b"\x94"
    for level in range(levels):
        get = b"h" + bytes([level])
        body += closed % {b"get": get} + b"\x94"
    return PROTO + body + b"."


BOMBS: list[Any] = [
    pytest.param(b"\x8d" + struct.pack("<Q", 2**62) + b"x.", id="BINUNICODE8"),
    pytest.param(b"\x8e" + struct.pack("<Q", 2**62) + b"x.", id="BINBYTES8"),
    pytest.param(b"\x96" + struct.pack("<Q", 2**62) + b"x.", id="BYTEARRAY8"),
    pytest.param(b"\x8a\xff" + b"\x7f" * 255 + b".", id="LONG1"),
    pytest.param(b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1.", id="LONG4"),
    pytest.param(b"L" + b"9" * 5_000_000 + b"L\n.", id="LONG as text"),
    pytest.param(b"\x95" + struct.pack("<Q", 2**63 - 1) + b"N", id="FRAME"),
    pytest.param(b"]" * 1_900_000 + b".", id="lists"),
    pytest.param(b"}" * 1_900_000 + b".", id="dicts"),
    pytest.param(b")" * 1_900_000 + b".", id="tuples"),
    pytest.param(b"N" + b"\x94" * 1_900_000 + b".", id="memo"),
    pytest.param(b"N" + b"".join(b"r" + struct.pack("<I", n) for n in range(600_000)), id="puts"),
    pytest.param(b"N" + b"2" * 1_900_000 + b".", id="DUP"),
    pytest.param(b"K\x01" * 2_100_000 + b".", id="opcodes"),
    pytest.param(b"(" * 1_900_000 + b".", id="marks"),
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_bomb_is_refused_and_bounded(bomb: bytes) -> None:
    # 100 bytes for each of the 500,000 kept values, the most of all of them.
    with cheap(megabytes=100), pytest.raises(ArtifactError, match="pickle"):
        load_pickle(PROTO + bomb, {})


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(doubling(30, b"]", b"(%(get)b%(get)bl".replace(b"l", b"t")), id="tuples"),
        pytest.param(doubling(30, b"]", b"](%(get)b%(get)be"), id="lists"),
        pytest.param(doubling(30, b"]", b"}(K\x01%(get)bK\x02%(get)bu"), id="dicts"),
    ],
)
def test_pickle_that_expands_without_bound_is_refused(bomb: bytes) -> None:
    with cheap(megabytes=5), pytest.raises(ArtifactError, match="expands to more than"):
        load_pickle(bomb, {})


def with_text(change: Callable[[str], str]) -> dict[str, bytes]:
    """A version with another model text."""
    model = pickle.loads(make_files()["model.pkl"])
    text = change(model["lightgbm"])
    return with_file("model.pkl", pickle.dumps(model | {"lightgbm": text}, 5))


def lengthened(text: str, name: str, more: str) -> str:
    """The first list of that name with more values appended."""
    start = text.index(f"\n{name}=") + 1
    end = text.index("\n", start)
    return text[:end] + more + text[end:]


def test_model_of_more_features_than_the_matrix_has_is_refused() -> None:
    """A split on one of them would read beyond the matrix."""
    beyond = re.compile(r"(?m)^max_feature_idx=\d+$")
    refuse(with_text(lambda t: beyond.sub("max_feature_idx=2000000001", t)), "feature names")
    both = with_text(
        lambda t: beyond.sub(f"max_feature_idx={len(FEATURES)}", t).replace(
            "\nfeature_names=", "\nfeature_names=another ", 1
        )
    )
    refuse(both, "different columns")


def test_sizes_that_would_mislead_lightgbm_are_ignored() -> None:
    sizes = re.compile(r"(?m)^tree_sizes=.*$")
    bundle = load_bundle(with_text(lambda t: sizes.sub("tree_sizes=99999999 5", t)), "v1")
    matrix = np.zeros((1, len(FEATURES)))
    assert np.array_equal(bundle.reference.raw(matrix), bundle.predictor.raw(matrix))


def test_model_with_too_many_values_is_refused_before_they_are_parsed() -> None:
    """Each value costs about sixty bytes of memory, and three of text."""
    files = with_text(lambda t: lengthened(t, "leaf_value", " 12" * 4_000_000))
    with cheap(megabytes=80):
        refuse(files, "values, not")


def with_state(**changes: object) -> dict[str, bytes]:
    """A version whose features have another state."""
    preprocessor = pickle.loads(make_files()["preprocessor.pkl"])
    preprocessor["features"] |= changes
    return with_file("preprocessor.pkl", pickle.dumps(preprocessor, 5))


def tables_of(operation: str, table: Callable[[Any], Any]) -> list[Any]:
    """The tables of a feature set, those of one operation replaced."""
    features = make_bundle().features
    pairs = zip(features.program.operations, features.tables, strict=True)
    return [table(t) if operation == o.OP else t for o, t in pairs]


def shared(levels: list[str], table: list[Any]) -> list[list[str]]:
    return [levels] * len(table)


def test_shared_levels_are_counted_for_each_column() -> None:
    long = [f"{i:05d}" + "a" * 250 for i in range(15_000)]
    many = [f"{i}" for i in range(40_000)]
    for levels, why in ((long, "characters"), (many, "levels and counts")):
        tables = tables_of("code", partial(shared, levels))
        with cheap(megabytes=30):
            refuse(with_state(tables=tables), why)


def test_shared_counts_are_counted_for_each_table() -> None:
    values = [float(i) for i in range(120_000)]
    part = {"values": values, "counts": [1] * len(values)}
    tables = tables_of("share", lambda table: [part] * 6 + table[6:])
    with cheap(megabytes=30):
        refuse(with_state(rows=10**6, tables=tables), "levels and counts")


def test_moderately_shared_values_are_read() -> None:
    shared = {"levels": list(range(100))}
    value = [shared] * 1000
    assert load_pickle(pickle.dumps(value), {}) == value
    with pytest.raises(ArtifactError, match="expands"):
        load_pickle(pickle.dumps(value), {}, PickleLimits(max_walk=50_000))


def test_long_names_do_not_fill_the_log(tmp_path: Path) -> None:
    name = b"X" + struct.pack("<I", 5_000_000) + b"a" * 5_000_000
    refuse(with_file("model.pkl", PROTO + name + name + b"\x93."), "which is not an allowed class")
    long = "x" * 1_000_000
    refuse(with_metadata(lambda m: m.update(format=long)))
    refuse(with_metadata(lambda m: m["files"]["model.pkl"].update(sha256=long)))
    refuse(with_metadata(lambda m: m["features"].update(fingerprint=long)))
    refuse(with_metadata(lambda m: m.update(schema_fingerprint=long)))
    refuse(with_metadata(lambda m: m["libraries"].update(lightgbm=long)))
    refuse(with_metadata(lambda m: m["thresholds"].update(review=long)))
    refuse(with_metadata(lambda m: m["golden"]["rows"][0].update(TransactionAmt=long)))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"[" * 4_000_000, id="open lists"),
        pytest.param(b'{"a":' * 80_000, id="open objects"),
        pytest.param(b'{"a":' + b"[" * 400 + b"]" * 400 + b"}", id="deep"),
        pytest.param(b'{"a":' + b"[" * 90_000 + b"]" * 90_000 + b"}", id="deeper"),
        pytest.param(b'{"a":[' + b"{}," * 2_000_000 + b"{}]}", id="many objects"),
        pytest.param(b'{"a":[' + b"1," * 3_000_000 + b"1]}", id="many numbers"),
        pytest.param(b'{"a":' + b"9" * 4_000_000 + b"}", id="a long number"),
        pytest.param(b'{"a":"' + b"x" * 9_000_000 + b'"}', id="a long text"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_metadata_bomb_is_refused_and_bounded(content: bytes) -> None:
    with cheap(megabytes=100):
        refuse(dict(make_files()) | {"metadata.json": content}, r"metadata\.json")


def test_json_up_to_the_limits_is_read() -> None:
    deep = b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    assert parse_object(deep)
    assert len(parse_object(b'{"a":[' + b"1," * 300_000 + b"1]}")["a"]) == 300_001
    with pytest.raises(ValueError, match="nests deeper"):
        parse_object(b'{"a":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}")


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.update(rows=g["rows"] * 1000),
        lambda g: g.update(raw=g["raw"] * 1000),
        lambda g: g.update(raw=[g["raw"]]),
        lambda g: g.update(rows={"0": g["rows"][0]}),
        lambda g: g.update(rows=5),
        lambda g: g.update(scores=None),
    ],
)
def test_invalid_golden_rows_are_refused(change: Callable[[dict[str, Any]], object]) -> None:
    refuse(with_metadata(lambda m: change(m["golden"])), "golden")


@pytest.mark.parametrize("name", [*PICKLES, "metadata.json"])
def test_every_truncation_is_refused(name: str) -> None:
    files = dict(make_files())
    whole, chance = files[name], random.Random(5)
    for length in {0, 1, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(25))}:
        refuse(files | {name: whole[:length]})


@pytest.mark.parametrize("name", PICKLES)
def test_every_truncation_with_a_valid_digest_is_refused_by_the_reader(name: str) -> None:
    whole, chance = make_files()[name], random.Random(6)
    for length in {0, 1, len(whole) - 1, *(chance.randrange(len(whole)) for _ in range(25))}:
        refuse(with_file(name, whole[:length]), "pickle")


def test_torn_version_of_two_publishers_is_refused() -> None:
    mine, theirs = make_files(seed=1), make_files(seed=2)
    for name in PICKLES:
        refuse(dict(mine) | {name: theirs[name]}, "sha256")


@pytest.mark.parametrize(
    ("name", "size"), [("metadata.json", 8 * 1024 * 1024), ("metadata.json.sig", 64 * 1024)]
)
def test_file_over_its_limit_is_refused_before_it_is_parsed(name: str, size: int) -> None:
    refuse(dict(make_files()) | {name: b" " * (size + 1)}, "the limit is")


@pytest.mark.parametrize("marker", [b"[" * 60_000, b'{"a":' * 12_000, b"\xff", b"[]", b""])
def test_hostile_marker_rejects_and_does_not_stop_the_watcher(
    tmp_path: Path, marker: bytes
) -> None:
    store = MemoryStore()
    publish(store)
    publish(store, seed=2)
    store.objects.overwrite("manifests/rejected/v2.json", marker)
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    assert watcher.current is not None
    assert watcher.current.version == "v1"
    assert watcher.status.rolled_back is not None
    assert watcher.status.rolled_back.reason == "the marker cannot be read"


@pytest.mark.parametrize(
    "record", [b"[" * 60_000, b"{}", b'{"version": "../v1"}', b'{"version": "v1", "previous": 7}']
)
def test_hostile_history_is_ignored(tmp_path: Path, record: bytes) -> None:
    store = MemoryStore()
    publish(store)
    publish(store, seed=2)
    store.objects.overwrite("manifests/history/000003.json", record)
    store.objects.overwrite("manifests/history/zzz.json", record)
    store.reject("v2", {"reason": "x" * 10_000})
    watcher = ModelWatcher(store, BundleCache(tmp_path))
    watcher.tick()
    assert watcher.current is not None
    assert watcher.current.version == "v1"
    assert watcher.status.rolled_back is not None
    assert len(watcher.status.rolled_back.reason) < 300


@pytest.mark.parametrize(
    ("old", "more"), [(b"{", b'"version": "v1",'), (b'"thresholds": {', b'"block": 0.1,')]
)
def test_metadata_with_a_key_twice_is_refused(old: bytes, more: bytes) -> None:
    files = dict(make_files())
    files["metadata.json"] = files["metadata.json"].replace(old, old + more, 1)
    refuse(files, r"metadata\.json of v1 cannot be read: it has the key '(version|block)' twice")
