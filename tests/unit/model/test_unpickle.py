from __future__ import annotations

import copyreg
import io
import itertools
import math
import os
import pickle
import pickletools
import random
import struct
import sys
import tracemalloc
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_scorer.errors import ArtifactCorrupt
from stream_scorer.model.unpickle import Allowed, PickleLimits, load_pickle

HERE = __name__
PROTO = b"\x80\x04"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    name: str
    codes: dict[str, int] = field(default_factory=dict)


@dataclass
class Open:
    values: list[int]
    inner: Vocabulary | None = None


ALLOWED: Allowed = {(HERE, "Vocabulary"): Vocabulary, (HERE, "Open"): Open}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
plain_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(scalars | st.tuples(scalars, scalars), inner)
        | st.lists(inner, max_size=5).map(tuple)
    ),
)


class Calls:
    """Pickles into a call of ``function``, which must never happen."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def refuse(data: bytes, message: str, allowed: Allowed = ALLOWED) -> None:
    with pytest.raises(ArtifactCorrupt, match=message):
        load_pickle(data, allowed)


@given(plain_values)
def test_plain_values_come_back_from_each_protocol(value: object) -> None:
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):
        found = load_pickle(pickle.dumps(value, protocol), {})
        assert found == value
        assert repr(found) == repr(value)


def test_plain_values_come_back_from_protocol_two() -> None:
    value = {"a": [1, -1, 2**40, True, None, 1.5], ("b", 2): ("é", "x" * 300)}
    assert load_pickle(pickle.dumps(value, 2), {}) == value


@given(plain_values)
def test_plain_values_come_back_from_joblib(value: object) -> None:
    file = io.BytesIO()
    joblib.dump(value, file)
    assert load_pickle(file.getvalue(), {}) == value


def test_batched_and_long_values_come_back() -> None:
    value = {"keys": {str(n): n for n in range(3000)}, "list": list(range(3000)), "t": "x" * 10**6}
    assert load_pickle(pickle.dumps(value), {}) == value


def test_nan_and_shared_values_come_back() -> None:
    shared = ["same"]
    found = load_pickle(pickle.dumps([shared, shared, math.nan]), {})
    assert isinstance(found, list)
    assert found[0] is found[1]
    assert math.isnan(found[2])


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_registered_classes_come_back(protocol: int) -> None:
    value = [Open([1, 2], Vocabulary("card4", {"visa": 1})), Vocabulary("empty")]
    assert load_pickle(pickle.dumps(value, protocol), ALLOWED) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"deep": [(x,)]}, lambda x: Open([x])])
def test_call_never_happens_wherever_it_hides(tmp_path: Path, protocol: int, wrap: Any) -> None:
    proof = tmp_path / "proof"
    data = pickle.dumps(wrap(Calls(os.system, f"touch {proof}")), protocol)
    with pytest.raises(ArtifactCorrupt):
        load_pickle(data, ALLOWED)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Calls(os.system, "true"), r"(posix|nt)\.system"),
        (Calls(eval, "1"), r"builtins\.eval"),
        (Calls(getattr, "", "join"), r"builtins\.getattr"),
        (Calls(Calls, Calls(os.system, "true")), r"\.Calls"),
        (np.array([Calls(os.system, "true")], dtype=object), r"numpy"),
        (np.float64(1.0), r"numpy"),
        (np.arange(3), r"numpy"),
        ({1, 2}, r"EMPTY_SET"),
        (Decimal(1), r"decimal\.Decimal"),
        (os.system, r"system"),
    ],
)
def test_refusal_names_the_global_or_opcode(value: object, name: str) -> None:
    refuse(pickle.dumps(value, 4), name)


def test_object_array_in_a_joblib_file_is_refused() -> None:
    file = io.BytesIO()
    joblib.dump({"a": np.array([Calls(os.system, "true")], dtype=object)}, file)
    refuse(file.getvalue(), "joblib")


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (HERE, "Vocabulary.__init__.__globals__"),
        (HERE, "os.system"),
        (HERE, ""),
        (f"{HERE}.Vocabulary", "__init__"),
        ("stream_scorer.model.unpickle", "pickletools.codecs"),
        ("", "Vocabulary"),
    ],
)
def test_dotted_names_are_not_followed(module: str, name: str) -> None:
    refuse(PROTO + text(module) + text(name) + b"\x93.", "which is not an allowed class")
    refuse(b"c" + f"{module}\n{name}\n.".encode(), "which is not an allowed class")


def test_persistent_ids_are_refused() -> None:
    class Persistent(pickle.Pickler):
        def persistent_id(self, _: object) -> str:
            return "id"

    file = io.BytesIO()
    Persistent(file).dump([1])
    refuse(file.getvalue(), "BINPERSID")
    refuse(b"Pid\n.", "PERSID")


def test_extension_codes_are_refused_even_when_registered() -> None:
    copyreg.add_extension(HERE, "Vocabulary", 200)
    try:
        data = pickle.dumps(Vocabulary, 2)
    finally:
        copyreg.remove_extension(HERE, "Vocabulary", 200)
    assert b"\x82\xc8" in data
    refuse(data, "EXT1")


CLASS = PROTO + text(HERE) + text("Open") + b"\x93"


def test_registered_class_itself_is_not_a_value() -> None:
    refuse(CLASS + b".", r"uses .*\.Open as a value")
    refuse(CLASS + b"\x85.", r"uses .*\.Open as a value")


def test_registered_class_cannot_be_changed() -> None:
    # BUILD on the class, with a slot state, would set attributes of the class itself.
    refuse(CLASS + b"N}" + text("values") + b"K\x01s\x86b.", "modifies a _Global")
    assert not hasattr(Open, "values")


def test_registered_class_is_not_called() -> None:
    refuse(CLASS + b")R.", "REDUCE")
    refuse(b"(i" + f"{HERE}\nOpen\n.".encode(), "INST")


def test_instance_gets_its_state_once() -> None:
    build = b"}" + text("values") + b"K\x01sb"
    found = load_pickle(CLASS + b")\x81" + build + b".", ALLOWED)
    assert isinstance(found, Open)
    refuse(CLASS + b")\x81" + build + build + b".", "modifies a Open")


def test_state_that_does_not_fit_the_class_is_corrupt() -> None:
    vocabulary = PROTO + text(HERE) + text("Vocabulary") + b"\x93)\x81"
    refuse(vocabulary + b"K\x01b.", "TypeError")
    refuse(CLASS + b")\x81K\x01b.", "TypeError")


def test_value_cannot_contain_itself() -> None:
    cycle: list[object] = []
    cycle.append(cycle)
    refuse(pickle.dumps(cycle), "contains itself")
    longer: dict[str, object] = {"list": [1]}
    longer["list"] = [longer]
    refuse(pickle.dumps(longer), "modifies a|contains itself")


def test_value_cannot_change_after_its_use() -> None:
    # [[]], then an append to the inner list, taken from the memo.
    refuse(PROTO + b"]\x94]\x94ah\x01K\x01a0.", "modifies a list")


@pytest.mark.parametrize("depth", [33, 200_000])
def test_deep_nesting_is_refused(depth: int) -> None:
    refuse(PROTO + b")" + b"\x85" * depth + b".", "nests deeper than 32")
    lists = PROTO + b"]" * depth + b"a" * (depth - 1) + b"."
    refuse(lists, "nests deeper than 32|more than 10000 containers")
    refuse(PROTO + b"N" + b"(" * depth, "left|invalid opcode")


def test_nesting_up_to_the_limit_is_read() -> None:
    value: object = 1
    for _ in range(32):
        value = [value]
    assert load_pickle(pickle.dumps(value), {}) == value


def test_keys_whose_hash_would_explode_are_refused() -> None:
    doubled = PROTO + b"})" + b"\x94" + b"".join(b"h%c\x86\x94" % n for n in range(20)) + b"K\x01s."
    refuse(doubled, "not allowed as a key")
    refuse(PROTO + b"}" + b"(" + b"K\x01" * 9 + b"tK\x01s.", "not allowed as a key")
    refuse(pickle.dumps({"x" * 5000: 1}), "not allowed as a key")
    refuse(PROTO + b"}]K\x01s.", "list that is not allowed as a key")


def test_tuple_keys_with_equal_hashes_are_refused_before_they_take_time() -> None:
    """9,000 of them would take 40 million comparisons."""
    parts = [1 + (2**61 - 1) * k for k in range(4)]
    assert len({hash(part) for part in parts}) == 1
    keys = list(itertools.islice(itertools.product(parts, repeat=8), 9_000))
    assert len({hash(key) for key in keys}) == 1

    refuse(pickle.dumps([dict.fromkeys(keys)]), "more than 64 keys in a pickle hash equally")
    few = dict.fromkeys(keys[:64])
    assert load_pickle(pickle.dumps(few), {}) == few


def test_many_tuple_keys_with_different_hashes_are_read() -> None:
    value = {(number, str(number)): number for number in range(5_000)}
    assert load_pickle(pickle.dumps(value), {}) == value


def test_integers_are_of_64_bits() -> None:
    refuse(pickle.dumps(2**64), "more than 64 bits")
    refuse(pickle.dumps({-(2**63) - 1: 0}), "more than 64 bits")
    refuse(pickle.dumps(1 << 100_000), "LONG4")


@pytest.mark.parametrize(
    "bomb",
    [
        b"\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"\x8d" + struct.pack("<Q", 2**62) + b"x.",
        b"B" + struct.pack("<I", 2**32 - 1) + b"x.",
        b"X" + struct.pack("<I", 2**32 - 1) + b"x.",
        b"\x95" + struct.pack("<Q", 2**63 - 1) + b"N",
        b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
        b"]r" + struct.pack("<I", 2**32 - 1) + b"2.",
        b"]" + b"2" * 1000 + b".",
        b"(" * 100_000 + b".",
        b"N" * 100_000 + b".",
    ],
)
def test_memory_bombs_cost_no_memory(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactCorrupt):
            load_pickle(PROTO + bomb, {})
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_limits_are_enforced() -> None:
    with pytest.raises(ArtifactCorrupt, match="bytes; the limit is 10"):
        load_pickle(pickle.dumps("x" * 100), {}, PickleLimits(max_bytes=10))
    with pytest.raises(ArtifactCorrupt, match="more than 50 opcodes"):
        load_pickle(pickle.dumps(list(range(100))), {}, PickleLimits(max_opcodes=50))
    many = pickle.dumps([Open([n]) for n in range(4)])
    with pytest.raises(ArtifactCorrupt, match="more than 3 instances"):
        load_pickle(many, ALLOWED, PickleLimits(max_instances=3))


def test_every_truncation_is_corrupt() -> None:
    data = pickle.dumps({"a": [1, 2.5, "text", (None, b"bytes")], "v": Vocabulary("x")})
    for length in range(len(data)):
        with pytest.raises(ArtifactCorrupt):
            load_pickle(data[:length], ALLOWED)


def test_data_that_is_not_a_pickle_is_corrupt() -> None:
    for data in (b"", b"{}", b"PK\x03\x04", b"\x80\xff.", b".", PROTO + b"."):
        refuse(data, "pickle")


def test_mutated_pickles_give_a_value_or_corrupt() -> None:
    generator = random.Random(7)
    value = [Open([1, 2], Vocabulary("card4", {"visa": 1})), {"a": (1.5, None, b"x")}, {1: 2}]
    for protocol in (0, 2, 5):
        whole = pickle.dumps(value, protocol)
        for _ in range(700):
            data = bytearray(whole)
            for _ in range(generator.randint(1, 4)):
                data[generator.randrange(len(data))] = generator.randrange(256)
            try:
                load_pickle(bytes(data), ALLOWED)
            except ArtifactCorrupt:
                continue


def test_opcodes_that_call_or_look_up_are_refused() -> None:
    dangerous = {"REDUCE", "INST", "OBJ", "NEWOBJ_EX", "PERSID", "BINPERSID", "NEXT_BUFFER"}
    costly = {"EXT1", "EXT2", "EXT4", "LONG", "LONG4", "INT", "STRING", "POP", "DUP"}
    codes = {opcode.name: opcode.code.encode("latin-1") for opcode in pickletools.opcodes}
    for name in dangerous | costly:
        refuse(PROTO + b"N" + codes[name], f"opcode {name},")


def test_pickle_itself_is_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pickle.dumps({"a": 1})
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, None)
    assert load_pickle(data, {}) == {"a": 1}
    assert "pickle" not in vars(sys.modules["stream_scorer.model.unpickle"])
