"""Tries whether the object storage obeys the conditions of writes, which every promise rests on."""

from __future__ import annotations

import contextlib
import uuid
from typing import Final

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.names import PROBE
from stream_scorer.model.store.objects import Objects

_ADVICE: Final = "two publishers would overwrite each other; use a storage with conditional writes"


def find_ignored_condition(objects: Objects, folder: str = PROBE) -> str | None:
    """What the storage does wrong, or None; it writes an object of its own and deletes it.

    Args:
        objects: the storage.
        folder: where the object is, for writers that may not write everywhere.

    Raises:
        StoreError: the storage cannot be reached or refuses the writes.
    """
    key = f"{folder}{uuid.uuid4().hex}"
    try:
        return _try_conditions(objects, key)
    finally:
        with contextlib.suppress(StoreError):
            objects.remove(key)


def _try_conditions(objects: Objects, key: str) -> str | None:
    token = objects.replace(key, b"1", None)
    if objects.create(key, b"2"):
        return (
            f"{objects.where} creates an object that already exists (it ignores If-None-Match): "
            f"{_ADVICE}"
        )
    objects.replace(key, b"3", token)
    try:
        objects.replace(key, b"4", token)
    except StoreConflict:
        return None
    return (
        f"{objects.where} replaces an object that has changed since it was read (it ignores "
        f"If-Match): {_ADVICE}"
    )
