"""The driver's messages as columns: the one place that looks into a record.

Whatever bytes a record has, looking at it never raises. What cannot be read is a value: a fault,
with the reason. ``Message.headers()`` raises a ``SystemError`` if the name of a header is not UTF-8
(names are bytes on the wire), and the list it leaves behind ends the process with a segmentation
fault when it is used, as does a second call. So it is called once for each message, here, and
nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from operator import methodcaller
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.framing import Headers
from stream_scorer.kafka.driver import Message

MAX_HEADERS: Final = 1_000
"""A record has a handful. In Python each takes about a hundred bytes, so that 400,000 empty ones,
which are two megabytes on the wire, would take 50 MB."""

_NO_TIME: Final = (0, -1)

_read_headers: Final[Callable[[Message], Headers]] = methodcaller("headers")
"""Not a plain ``message.headers()``: the driver returns its broken list *and* sets an exception.
Python checks for that in general, but not where the interpreter has specialized a call that runs
often (PEP 659, ``CALL_METHOD_DESCRIPTOR_NOARGS``): there the exception is lost and the broken list
returned. ``methodcaller`` always checks."""

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
        found: list[Headers] = []
        for row, message in enumerate(self._messages):
            try:
                headers = _read_headers(message)
            except MemoryError:  # not the record's fault
                raise
            except Exception as error:
                self._add_fault(row, _headers_fault(error))
                headers = None
            if headers and len(headers) > MAX_HEADERS:
                self._add_fault(
                    row,
                    f"the record has {len(headers)} headers, more than the {MAX_HEADERS} allowed",
                )
                headers = None
            found.append(headers or None)
        return found

    @cached_property
    def partitions(self) -> NDArray[np.int32]:
        """The partitions, int32 ``[n]``."""
        return np.array(list(map(methodcaller("partition"), self._messages)), np.int32)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """The offsets, int64 ``[n]``."""
        return np.array(list(map(methodcaller("offset"), self._messages)), np.int64)

    @cached_property
    def times(self) -> NDArray[np.int64]:
        """The timestamps, epoch milliseconds, int64 ``[n]``."""
        return np.array([time for _, time in self._column("timestamp", _NO_TIME)], np.int64)

    def faults(self) -> dict[int, str]:
        """Row → why the value, the key or the headers of that record cannot be read."""
        _ = self.values, self.keys, self.headers
        return self._faults

    def _column(self, name: str, otherwise: _T) -> list[_T]:
        read: Callable[[Message], _T] = methodcaller(name)
        try:
            return list(map(read, self._messages))
        except MemoryError:
            raise
        except Exception:  # one of them; these accessors can be called again
            return [
                self._read_one(row, name, read, otherwise) for row in range(len(self._messages))
            ]

    def _read_one(self, row: int, name: str, read: Callable[[Message], _T], otherwise: _T) -> _T:
        try:
            return read(self._messages[row])
        except MemoryError:
            raise
        except Exception as error:
            self._add_fault(row, f"the {name} cannot be read: {_describe(error)}")
            return otherwise

    def _add_fault(self, row: int, reason: str) -> None:
        self._faults.setdefault(row, reason)


def _headers_fault(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError) or isinstance(error.__cause__, UnicodeDecodeError):
        return "the name of a header is not UTF-8"
    return f"the headers cannot be read: {_describe(error)}"


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def by_partition(messages: Iterable[Message]) -> Iterator[tuple[int, Records]]:
    """The records of each partition, in offset order."""
    ordered = sorted(messages, key=_partition)
    for partition, group in groupby(ordered, _partition):
        yield partition, Records(list(group))


def _partition(message: Message) -> int:
    return message.partition() or 0
