"""The driver's messages as columns: the one place that looks into a record.

Whatever bytes a record has, looking at it never raises. What cannot be read is a value: a fault,
with the reason. ``Message.headers()`` raises a ``SystemError`` if the name of a header is not UTF-8
(names are bytes on the wire), and the list it leaves behind ends the process with a segmentation
fault when it is used, as does a second call. So it is called once for each message, here, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.framing import Headers
from stream_scorer.kafka.driver import Message

MAX_HEADERS: Final = 1_000
"""A record has a handful. In Python each takes about a hundred bytes, so that 100,000 empty ones,
which are half a megabyte on the wire, would take 10 MB. (librdkafka delivers none of more.)"""

_NO_TIME: Final = (0, -1)
_T = TypeVar("_T")


class Records:
    """Records that the driver delivered, column by column. Each message is looked at once.

    Columns are read on first use and kept. A part that cannot be read is None (a timestamp: -1),
    and the record's row is in :meth:`faults`.
    """

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._faults: dict[int, str] = {}

    def __len__(self) -> int:
        """Number of records."""
        return len(self._messages)

    @cached_property
    def values(self) -> list[bytes | None]:
        """The values; None: a tombstone, or not readable."""
        return self._column("value", None)

    @cached_property
    def keys(self) -> list[bytes | None]:
        """The keys; None: none, or not readable."""
        return self._column("key", None)

    @cached_property
    def headers(self) -> list[Headers]:
        """The headers in order, including repeated names; None: none, or not readable."""
        found: list[Headers] = self._column("headers", None)
        if max(map(len, filter(None, found)), default=0) > MAX_HEADERS:
            for row, headers in enumerate(found):
                if headers and len(headers) > MAX_HEADERS:
                    self._add_fault(
                        row,
                        f"the record has {len(headers)} headers, more than the {MAX_HEADERS} "
                        "allowed",
                    )
                    found[row] = None
        return found

    @cached_property
    def partitions(self) -> NDArray[np.int32]:
        """The partitions, int32 ``[n]``."""
        return np.array(self._column("partition", 0), np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """The offsets, int64 ``[n]``."""
        return np.array(self._column("offset", -1), np.int64)

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """The timestamps, epoch milliseconds, int64 ``[n]``."""
        return np.array([time for _, time in self._column("timestamp", _NO_TIME)], np.int64)

    def faults(self) -> dict[int, str]:
        """Row → why the value, the key or the headers of that record cannot be read."""
        _ = self.values, self.keys, self.headers
        return self._faults

    def _column(self, name: str, otherwise: _T) -> list[_T]:
        """One part of every record; each accessor is called once.

        ``map`` calls the accessors, and not a loop of ours: after a bad header name the driver
        returns a broken list *and* sets an exception. Python checks for that in general, but not
        where the interpreter has specialized a method call that runs often (PEP 659,
        ``CALL_METHOD_DESCRIPTOR_NOARGS``). There the exception is lost, and the list is used.
        """
        messages, found = self._messages, list[_T]()
        if not messages:
            return found
        reading = map(getattr(type(messages[0]), name), messages)
        while len(found) < len(messages):
            try:
                found.extend(reading)
            except MemoryError:  # not the record's fault
                raise
            except Exception as error:  # what was read before stays, and the next one follows
                self._add_fault(len(found), _fault(name, error))
                found.append(otherwise)
        return found

    def _add_fault(self, row: int, reason: str) -> None:
        self._faults.setdefault(row, reason)


def _fault(part: str, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError) or isinstance(error.__cause__, UnicodeDecodeError):
        return "the name of a header is not UTF-8"
    return f"the {part} cannot be read: {type(error).__name__}: {error}"


def by_partition(messages: Iterable[Message]) -> Iterator[tuple[int, Records]]:
    """The records of each partition, in offset order."""
    ordered = sorted(messages, key=_partition)
    for partition, group in groupby(ordered, _partition):
        yield partition, Records(list(group))


def _partition(message: Message) -> int:
    return message.partition() or 0
