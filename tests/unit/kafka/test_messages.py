"""Looking at records never raises, and looks at each header list once."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from stream_scorer.kafka.driver import Message
from stream_scorer.kafka.messages import MAX_HEADERS, Records, by_partition

ROOT = Path(__file__).parents[3]


def not_utf8() -> SystemError:
    """What the driver raises for a header name that is not UTF-8."""
    error = SystemError("<method 'headers'> returned a result with an exception set")
    error.__cause__ = UnicodeDecodeError("utf-8", b"caf\xe9", 3, 4, "unexpected end of data")
    return error


@dataclass
class Fake:
    """A message; an exception in place of a part is raised when that part is read."""

    parts: dict[str, Any]
    reads: list[str] = field(default_factory=list)

    def _read(self, name: str) -> Any:
        assert name != "headers" or name not in self.reads, "a second call is a segmentation fault"
        self.reads.append(name)
        found = self.parts[name]
        if isinstance(found, Exception):
            raise found
        return found

    def value(self) -> Any:
        return self._read("value")

    def key(self) -> Any:
        return self._read("key")

    def headers(self) -> Any:
        return self._read("headers")

    def timestamp(self) -> Any:
        return self._read("timestamp")

    def partition(self) -> Any:
        return self._read("partition")

    def offset(self) -> Any:
        return self._read("offset")


def message(offset: int = 0, **parts: Any) -> Message:
    usual = {
        "partition": 0, "offset": offset, "value": b"v%d" % offset, "key": b"k",
        "headers": None, "timestamp": (1, 1_700_000_000_000 + offset),
    }  # fmt: skip
    return cast("Message", Fake(usual | parts))


def test_columns_hold_what_the_records_have() -> None:
    records = Records([message(0), message(1, value=None, key=None, headers=[("a", b"1")])])
    assert len(records) == 2
    assert records.values == [b"v0", None]
    assert records.keys == [b"k", None]
    assert records.headers == [None, [("a", b"1")]]
    assert records.offsets.tolist() == [0, 1]
    assert records.times.tolist() == [1_700_000_000_000, 1_700_000_000_001]
    assert records.faults() == {}


def test_header_name_that_is_not_utf8_is_a_fault_of_that_record_only() -> None:
    records = Records(
        [message(0), message(1, headers=not_utf8()), message(2, headers=[("a", b"")])]
    )
    assert records.headers == [None, None, [("a", b"")]]
    assert records.values == [b"v0", b"v1", b"v2"]
    assert records.faults() == {1: "the name of a header is not UTF-8"}
    assert records.headers[1] is None  # and they are not read again


@pytest.mark.parametrize("part", ["value", "key", "headers", "timestamp"])
def test_any_failure_to_look_at_a_record_is_a_fault(part: str) -> None:
    records = Records([message(0), message(1, **{part: ValueError("broken")}), message(2)])
    times = records.times.tolist()
    assert [records.values[1], records.keys[1], records.headers[1], times[1]] == [
        None if part == "value" else b"v1",
        None if part == "key" else b"k",
        None,
        -1 if part == "timestamp" else 1_700_000_000_001,
    ]
    (reason,) = records.faults().values()
    assert "cannot be read: ValueError: broken" in reason
    assert records.faults().keys() == {1}
    assert times[::2] == [1_700_000_000_000, 1_700_000_000_002]


@pytest.mark.parametrize("part", ["value", "headers"])
def test_lack_of_memory_is_not_the_records_fault(part: str) -> None:
    records = Records([message(0, **{part: MemoryError()})])
    with pytest.raises(MemoryError):
        records.faults()


def test_more_headers_than_the_limit_are_a_fault_and_are_dropped() -> None:
    most = [("a", None)] * MAX_HEADERS
    records = Records([message(0, headers=most), message(1, headers=[*most, ("a", None)])])
    assert records.headers == [most, None]
    assert records.faults() == {1: "the record has 1001 headers, more than the 1000 allowed"}


def test_records_are_grouped_by_partition_in_order() -> None:
    mixed = [message(i, partition=i % 2) for i in range(5)]
    found = [(partition, own.offsets.tolist()) for partition, own in by_partition(mixed)]
    assert found == [(0, [0, 2, 4]), (1, [1, 3])]


def test_only_one_place_reads_the_headers_of_a_message() -> None:
    """A method call in our own code can lose the driver's exception, so there is none at all."""
    calls = [
        path.relative_to(ROOT).as_posix()
        for package in ("stream_scorer", "dashboard", "trainer")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "headers"
    ]
    assert calls == []
