"""Completes a promotion that a run meant to make and did not, because it was interrupted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from stream_scorer.errors import ArtifactError, StoreConflict, StoreError
from stream_scorer.model.bundle import load_bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.names import METADATA, version_number
from stream_scorer.model.store.port import ArtifactStore, Pointer
from stream_scorer.model.store.promotions import Promotion
from stream_scorer.runtime.json_limits import parse_object
from stream_scorer.runtime.settings import StoreSettings

NEWEST: Final = 20
"""Versions that are looked at: each has to be read as a whole."""


@dataclass(slots=True)
class Resumed:
    """What was found and done.

    Attributes:
        promoted: the version promoted now, if any.
        not_promoted: version that a run meant to promote → why it is not promoted now either.
        incomplete: versions that a publisher began and has not finished.
    """

    promoted: str | None = None
    not_promoted: dict[str, str] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)


def resume(store: ArtifactStore, settings: StoreSettings) -> Resumed:
    """Promote the newest version whose run meant to promote it and was interrupted.

    It is promoted only if it passed its gate, loads, and nobody promoted anything since the run
    started: the pointer moves by compare-and-set. A second call finds nothing to do.

    Raises:
        StoreError: the store cannot be reached.
    """
    resumed = Resumed(incomplete=store.incomplete())
    pointer, history = store.current(), store.history()
    for version, files, metadata in _pending(store, pointer, history):
        why = (
            _moved_since(metadata["promotion"], version, pointer, history)
            or _refused(store, version, metadata)
            or _unusable(files, version, settings)
        )
        if why is None:
            try:
                store.promote(version, pointer)
            except StoreConflict:
                why = "another promotion happened at the same time"
        if why is None:
            resumed.promoted = version
            break
        resumed.not_promoted[version] = why
    return resumed


def _pending(
    store: ArtifactStore, pointer: Pointer | None, history: Sequence[Promotion]
) -> Iterator[tuple[str, Mapping[str, bytes], Mapping[str, Any]]]:
    """The versions that a run meant to promote and did not, newest first, with their files.

    An older version than the promoted one is not among them: it is out of date.
    """
    least = 0 if pointer is None else version_number(pointer.version)
    newer = [version for version in store.versions() if version_number(version) > least]
    for version in reversed(newer[-NEWEST:]):
        if _was_promoted(version, history):
            continue
        try:
            files = store.fetch(version)
            metadata = parse_object(files[METADATA])
        except (StoreError, ValueError):  # the list of versions shows it as unreadable
            continue
        promotion = metadata.get("promotion")
        if isinstance(promotion, Mapping) and promotion.get("wanted") is True:
            yield version, files, metadata


def _was_promoted(version: str, history: Sequence[Promotion]) -> bool:
    """Whether the pointer named the version once.

    A promotion is recorded before the pointer moves. So the last record may be of a promotion that
    was interrupted in between.
    """
    others = [promotion.version == version for promotion in history]
    while others and others[-1]:
        others.pop()
    return any(others)


def _moved_since(
    promotion: Mapping[str, Any],
    version: str,
    pointer: Pointer | None,
    history: Sequence[Promotion],
) -> str | None:
    """Who promoted what since the run started; None if nobody did."""
    expected = promotion.get("expected")
    actual = None if pointer is None else pointer.version
    if actual != expected:
        return (
            f"another promotion happened since its run started: the pointer was at "
            f"{expected or 'no version'} and is at {actual or 'no version'}"
        )
    if pointer is not None and pointer.token != promotion.get("token"):
        return f"the pointer was written since its run started; it is at {actual} again"
    last = promotion.get("last")
    known = [asdict(record) for record in history]
    if last is not None and last not in known:
        return "the history of promotions no longer reaches back to the start of its run"
    since = history if last is None else history[known.index(last) + 1 :]
    others = [record for record in since if record.version != version]
    if not others:
        return None
    return (
        f"{others[-1].version} was promoted since its run started (at {others[-1].at} by "
        f"{others[-1].host})"
    )


def _refused(store: ArtifactStore, version: str, metadata: Mapping[str, Any]) -> str | None:
    gate = metadata.get("gate")
    if not isinstance(gate, Mapping) or gate.get("passed") is not True:
        return (
            "the gate refused it, and only a person can overrule the gate, with --force --reason "
            "TEXT"
        )
    if version in store.rejected():
        return "a scorer rejected it; a promotion needs --force --reason TEXT"
    return None


def _unusable(files: Mapping[str, bytes], version: str, settings: StoreSettings) -> str | None:
    try:
        load_bundle(files, version, parse_trusted_keys(settings.model_trusted_keys))
    except ArtifactError as error:
        return f"it cannot be served: {error}"
    return None
