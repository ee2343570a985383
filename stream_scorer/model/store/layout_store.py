"""The artifact store's rules, on top of any object storage."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

from stream_scorer.errors import StoreConflict, StoreError
from stream_scorer.model.store.challenge_log import ChallengeLog, ChallengeRecord
from stream_scorer.model.store.conditions import find_ignored_condition
from stream_scorer.model.store.names import (
    ACCEPTED,
    FILE_MAX_BYTES,
    LATEST_COPY,
    METADATA,
    MODEL,
    MODELS,
    NUMBERS_END,
    POINTER,
    PREPROCESSOR,
    REJECTED,
    REPORT,
    REQUIRED_FILES,
    SIGNATURE,
    SMALL_MAX_BYTES,
    WRITE_ORDER,
    acceptance_key,
    check_rest,
    check_size,
    comparison_key,
    file_key,
    is_version,
    marked_version,
    parse_pointer,
    rejection_key,
    size_limit,
    version_number,
)
from stream_scorer.model.store.objects import Objects, StoredObject
from stream_scorer.model.store.port import Challenge, Pointer
from stream_scorer.model.store.promotion_log import PromotionLog
from stream_scorer.model.store.promotions import Override, Promotion
from stream_scorer.runtime.json_limits import parse_object

log = logging.getLogger(__name__)

CLAIM_ATTEMPTS: Final = 1000
"""Each failed attempt is a number another publisher took; a store that reaches this limit refuses
every create."""

COPY_ATTEMPTS: Final = 3
"""How often the copy in models/latest/ is repeated because the pointer moved meanwhile."""


class LayoutStore:
    """Implements :class:`~stream_scorer.model.store.port.ArtifactStore` over ``objects``.

    Unless ``is_trusted``, conditional writes are tried before the first one.
    """

    def __init__(self, objects: Objects, *, is_trusted: bool = False) -> None:
        self._objects = objects
        self._history = PromotionLog(objects)
        self._challenges = ChallengeLog(objects)
        self._pointer: StoredObject | None = None
        self._markers: dict[str, dict[str, Any]] = {}
        self._is_tried = is_trusted

    @property
    def where(self) -> str:
        """The store's URI."""
        return self._objects.where

    def current(self) -> Pointer | None:
        """See the port; an unchanged pointer is not read again."""
        self._pointer = found = self._objects.read(POINTER, SMALL_MAX_BYTES, self._pointer)
        return None if found is None else Pointer(parse_pointer(found.content), found.token)

    def versions(self) -> list[str]:
        """See the port."""
        complete = [v for v, names in self._files().items() if names.issuperset(REQUIRED_FILES)]
        return sorted(complete, key=version_number)

    def incomplete(self) -> list[str]:
        """See the port."""
        begun = [v for v, names in self._files().items() if not names.issuperset(REQUIRED_FILES)]
        return sorted(begun, key=version_number)

    def read_metadata(self, version: str) -> bytes:
        """See the port."""
        metadata = self._read(version, METADATA)
        if metadata is None:
            raise self._not_there(version)
        return metadata

    def fetch(self, version: str) -> dict[str, bytes]:
        """See the port."""
        files = {METADATA: self.read_metadata(version)}
        for name in (MODEL, PREPROCESSOR, SIGNATURE):
            content = self._read(version, name)
            if content is not None:
                files[name] = content
            elif name != SIGNATURE:
                raise StoreError(f"version {version} in {self.where} is incomplete: no {name}")
        return files

    def read_report(self, version: str) -> bytes | None:
        """See the port."""
        return self._read(version, REPORT)

    def find_ignored_condition(self) -> str | None:
        """See the port."""
        return find_ignored_condition(self._objects)

    def publish(self, model: bytes, rest: Callable[[str], Mapping[str, bytes]]) -> str:
        """See the port."""
        check_size(MODEL, model)
        self._require_conditions()
        version = self._claim(model)
        files = rest(version)
        check_rest(files)
        for name in WRITE_ORDER:
            if name in files:
                self._write_once(file_key(version, name), files[name])
        return version

    def promote(
        self,
        version: str,
        expected: Pointer | None,
        *,
        is_rollback: bool = False,
        override: Override | None = None,
    ) -> Pointer:
        """See the port; if the copy to ``models/latest/`` fails, that is logged."""
        self._require_complete(version)
        self._require_conditions()
        token = self._move_pointer(version, expected, is_rollback, override)
        try:
            self._refresh_copy(version)
        except StoreError as error:
            log.warning("could not copy %s to models/latest/: %s", version, error)
        return Pointer(version, token)

    def challenger(self) -> Challenge:
        """See the port; an unchanged pointer is not read again."""
        return Challenge(*self._challenges.current())

    def challenge(self, version: str | None, expected: Challenge) -> Challenge:
        """See the port."""
        if version is not None:
            self._require_complete(version)
        self._require_conditions()
        token = self._challenges.move(version, expected.version, expected.token)
        return Challenge(version, token)

    def challenges(self) -> list[ChallengeRecord]:
        """See the port."""
        return self._challenges.read()

    def write_comparison(self, champion: str, challenger: str, content: bytes) -> None:
        """See the port."""
        key = comparison_key(champion, challenger)
        if len(content) > SMALL_MAX_BYTES:
            raise StoreError(f"{key} has {len(content)} bytes; the limit is {SMALL_MAX_BYTES}")
        self._objects.overwrite(key, content)

    def read_comparison(self, champion: str, challenger: str) -> bytes | None:
        """See the port."""
        found = self._objects.read(comparison_key(champion, challenger), SMALL_MAX_BYTES)
        return None if found is None else found.content

    def rejected(self) -> dict[str, dict[str, Any]]:
        """See the port; an unreadable marker counts as a rejection, to be on the safe side."""
        found: dict[str, dict[str, Any]] = {}
        for key in self._objects.keys(REJECTED):
            version = marked_version(key, REJECTED)
            if version is not None:
                found[version] = self._markers.get(version) or self._read_marker(key)
        self._markers = found
        return {v: dict(found[v]) for v in sorted(found, key=version_number)}

    def reject(self, version: str, reason: Mapping[str, Any]) -> bool:
        """See the port."""
        return self._objects.create(rejection_key(version), _marker(version, reason))

    def accepted(self) -> set[str]:
        """See the port."""
        return self._marked(ACCEPTED) - self._marked(REJECTED)

    def accept(self, version: str, reason: Mapping[str, Any]) -> bool:
        """See the port."""
        return self._objects.create(acceptance_key(version), _marker(version, reason))

    def readmit(self, version: str, reason: Mapping[str, Any]) -> bool:
        """See the port; accepts first, so that no guard can reject the version in between."""
        is_rejected = version in self._marked(REJECTED)
        self.accept(version, reason)
        self._objects.remove(rejection_key(version))
        return is_rejected

    def history(self) -> list[Promotion]:
        """See the port."""
        return self._history.read()

    def _require_conditions(self) -> None:
        """Try conditional writes before this object's first one."""
        if not self._is_tried and (ignored := self.find_ignored_condition()) is not None:
            raise StoreError(ignored)
        self._is_tried = True

    def last_promotion(self, version: str) -> Promotion | None:
        """See the port."""
        return self._history.find_last(version)

    def acceptances(self) -> dict[str, dict[str, Any]]:
        """See the port."""
        found = {v: self._read_marker(acceptance_key(v)) for v in self._marked(ACCEPTED)}
        return {v: found[v] for v in sorted(found, key=version_number)}

    def _move_pointer(
        self,
        version: str,
        expected: Pointer | None,
        is_rollback: bool,
        override: Override | None,
    ) -> str:
        """Record the move, then move the pointer; returns the pointer's new token.

        Raises:
            StoreConflict: the pointer is not the expected one.
        """
        was = None if expected is None else expected.version
        record = None
        if version != was or override is not None:
            record = self._history.append(version, was, is_rollback=is_rollback, override=override)
        try:
            token = None if expected is None else expected.token
            return self._objects.replace(POINTER, version.encode(), token)
        except StoreConflict as error:
            if record is not None:
                with contextlib.suppress(StoreError):  # if it stays, no record refers to it
                    self._history.remove(record)
            raise StoreConflict(
                f"{version} was not promoted: the pointer in {self.where} no longer names "
                f"{was or 'no version'}"
            ) from error

    def _marked(self, prefix: str) -> set[str]:
        marked = (marked_version(key, prefix) for key in self._objects.keys(prefix))
        return {version for version in marked if version is not None}

    def _files(self) -> dict[str, set[str]]:
        """The file names in each version's folder, whether or not the version is complete."""
        files: defaultdict[str, set[str]] = defaultdict(set)
        for key in self._objects.keys(MODELS):
            version, _, name = key.removeprefix(MODELS).partition("/")
            if is_version(version):
                files[version].add(name)
        return files

    def _read(self, version: str, name: str) -> bytes | None:
        found = self._objects.read(file_key(version, name), size_limit(name))
        return None if found is None else found.content

    def _claim(self, model: bytes) -> str:
        first = self._highest_number() + 1
        for number in range(first, first + CLAIM_ATTEMPTS):
            version = f"v{number}"
            if self._objects.create(file_key(version, MODEL), model):
                return version
        raise StoreError(f"{self.where} refused {CLAIM_ATTEMPTS} version numbers from v{first} on")

    def _highest_number(self) -> int:
        """The highest number in use or still referenced; a deleted version's is not reused."""
        named = set(self._files()) | self._marked(REJECTED) | self._marked(ACCEPTED)
        named |= {promotion.version for promotion in self._history.read()}
        pointer = self._objects.read(POINTER, SMALL_MAX_BYTES)
        if pointer is not None:
            named.add(pointer.content.decode("utf-8", errors="replace").strip())
        numbers = {version_number(text) for text in named if is_version(text)}
        if stray := sorted(number for number in numbers if number >= NUMBERS_END):
            log.warning("%s: no number is left after v%d, so it is ignored", self.where, stray[-1])
        return max(numbers.difference(stray), default=0)

    def _write_once(self, key: str, content: bytes) -> None:
        if self._objects.create(key, content):
            return
        # If the response to a write is lost, the client repeats it and finds its own object.
        found = self._objects.read(key, FILE_MAX_BYTES)
        if found is None or found.content != content:
            raise StoreConflict(f"{key} in {self.where} was written by another process")

    def _require_complete(self, version: str) -> None:
        version_number(version)
        prefix = file_key(version, "")
        present = {key.removeprefix(prefix) for key in self._objects.keys(prefix)}
        if not present:
            raise StoreError(f"there is no version {version} in {self.where}")
        missing = [name for name in REQUIRED_FILES if name not in present]
        if missing:
            raise StoreError(
                f"version {version} in {self.where} is incomplete: no {', '.join(missing)}"
            )

    def _not_there(self, version: str) -> StoreError:
        try:
            self._require_complete(version)
        except StoreError as error:
            return error
        return StoreError(f"version {version} in {self.where} was just completed: try again")

    def _refresh_copy(self, version: str) -> None:
        """Copy ``version``; copy again if the pointer moved, so that the last copy is current."""
        for _ in range(COPY_ATTEMPTS):
            files = self.fetch(version)
            if (report := self.read_report(version)) is not None:
                files[REPORT] = report
            for name in (MODEL, *WRITE_ORDER):
                if name in files:
                    self._objects.overwrite(LATEST_COPY + name, files[name])
                else:  # the copy may have that of the previous version
                    self._objects.remove(LATEST_COPY + name)
            pointer = self.current()
            if pointer is None or pointer.version == version:
                return
            version = pointer.version

    def _read_marker(self, key: str) -> dict[str, Any]:
        try:
            found = self._objects.read(key, SMALL_MAX_BYTES)
            if found is not None:
                return parse_object(found.content)
        except ValueError:  # also raised for bytes that are not UTF-8
            pass
        return {"reason": "the marker cannot be read"}


def _marker(version: str, reason: Mapping[str, Any]) -> bytes:
    content = json.dumps(dict(reason), indent=2, sort_keys=True).encode() + b"\n"
    if len(content) > SMALL_MAX_BYTES:
        raise StoreError(
            f"the marker of {version} has {len(content)} bytes; the limit is {SMALL_MAX_BYTES}"
        )
    return content
