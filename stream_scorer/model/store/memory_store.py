"""The artifact store in memory: a fake for tests that can inject faults."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.layout_store import LayoutStore
from stream_scorer.model.store.objects import StoredObject


@dataclass(frozen=True, slots=True)
class StoreFault:
    """A fault in the next operations that match.

    Kinds: ``unavailable`` (raises StoreError and does nothing), ``torn`` (a read returns half of
    the bytes), ``lost`` (the write happens but raises StoreError), ``slow`` (``wait`` is called
    first, an event's wait for example).
    """

    kind: Literal["unavailable", "torn", "lost", "slow"]
    matching: str = "*"
    """A pattern for ``"<operation> <key>"``, such as ``"read models/*/model.pkl"``."""
    times: int = 1
    wait: Callable[[], object] = lambda: None


class MemoryStore(LayoutStore):
    """A store that lives as long as the object; several stores may share one ``objects``."""

    def __init__(self, objects: MemoryObjects | None = None) -> None:
        self.objects = objects or MemoryObjects()
        super().__init__(self.objects)

    def script(self, *faults: StoreFault) -> None:
        """Add faults; each applies to its next ``times`` matching operations."""
        self.objects.script(faults)


class MemoryObjects:
    """Objects in a dictionary. A token depends only on the content, like S3's ETags."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._faults: list[tuple[StoreFault, list[None]]] = []

    @property
    def where(self) -> str:
        """The name shown in messages."""
        return "memory://"

    def script(self, faults: Sequence[StoreFault]) -> None:
        """See :meth:`MemoryStore.script`."""
        with self._lock:
            self._faults += [(fault, [None] * fault.times) for fault in faults]

    def heal(self) -> None:
        """Remove the remaining faults."""
        with self._lock:
            self._faults.clear()

    def read(
        self, key: str, max_bytes: int, known: StoredObject | None = None
    ) -> StoredObject | None:
        """See the port."""
        fault = self._apply_fault("read", key)
        with self._lock:
            content = self._contents.get(key)
        if content is None:
            return None
        if len(content) > max_bytes:
            raise StoreError(f"{key} has {len(content)} bytes; the limit is {max_bytes}")
        if fault == "torn":
            content = content[: len(content) // 2]
        token = _token(content)
        return known if known is not None and known.token == token else StoredObject(content, token)

    def read_head(self, key: str, count: int) -> bytes | None:
        """See the port."""
        fault = self._apply_fault("read_head", key)
        with self._lock:
            content = self._contents.get(key)
        if content is None:
            return None
        return content[: min(count, len(content) // 2 if fault == "torn" else count)]

    def create(self, key: str, content: bytes) -> bool:
        """See the port."""
        fault = self._apply_fault("create", key)
        with self._lock:
            is_new = key not in self._contents
            if is_new:
                self._contents[key] = content
        _lose_response(fault, key)
        return is_new

    def replace(self, key: str, content: bytes, expected: str | None) -> str:
        """See the port."""
        fault = self._apply_fault("replace", key)
        with self._lock:
            found = self._contents.get(key)
            if (None if found is None else _token(found)) != expected:
                raise StoreConflict(f"{key} was changed by another process")
            self._contents[key] = content
        _lose_response(fault, key)
        return _token(content)

    def overwrite(self, key: str, content: bytes) -> None:
        """See the port."""
        fault = self._apply_fault("overwrite", key)
        with self._lock:
            self._contents[key] = content
        _lose_response(fault, key)

    def remove(self, key: str) -> None:
        """See the port."""
        self._apply_fault("remove", key)
        with self._lock:
            self._contents.pop(key, None)

    def keys(self, prefix: str) -> list[str]:
        """See the port."""
        self._apply_fault("keys", prefix)
        with self._lock:
            return [key for key in self._contents if key.startswith(prefix)]

    def _apply_fault(self, operation: str, key: str) -> str | None:
        """Apply the first fault that matches; returns its kind if the caller must act on it."""
        with self._lock:
            fault = self._next_fault(f"{operation} {key}")
        if fault is None:
            return None
        fault.wait()
        if fault.kind == "unavailable":
            raise StoreError(f"the store is unavailable ({operation} {key})")
        return fault.kind

    def _next_fault(self, name: str) -> StoreFault | None:
        for index, (fault, left) in enumerate(self._faults):
            if fnmatchcase(name, fault.matching):
                left.pop()
                if not left:
                    del self._faults[index]
                return fault
        return None


def _lose_response(fault: str | None, key: str) -> None:
    if fault == "lost":
        raise StoreError(f"the response to the write of {key} was lost")


def _token(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
