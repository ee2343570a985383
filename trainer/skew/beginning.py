"""What the scorers' histories began with: the seed and the offsets of the era that counts."""

from __future__ import annotations

from dataclasses import dataclass

from stream_scorer.errors import ArtifactError, StoreError, UsageError
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.opening import open_history_store
from stream_scorer.runtime.settings import StoreSettings
from trainer.skew.sides import Start


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a comparison begins.

    Attributes:
        era: the number of the era; None: there is none, or it is ignored.
        start: the histories.
        offsets: the first offset of each partition that counts; None: the first retained.
    """

    era: int | None
    start: Start
    offsets: tuple[int, ...] | None


def find_beginning(
    settings: StoreSettings, spec: HistorySpec, topic: str, *, is_cold: bool
) -> Beginning:
    """The beginning of the latest era of a spec; without one, no histories and all inputs.

    Raises:
        UsageError: the era or its seed cannot be read or used.
    """
    if is_cold:
        return Beginning(None, Start(), None)
    return beginning_of(open_history_store(settings), spec, topic)


def beginning_of(store: HistoryStore, spec: HistorySpec, topic: str) -> Beginning:
    """The same, given the store."""
    way_out = "--cold compares without it, from the first retained inputs on"
    try:
        era = store.latest_era(spec.fingerprint)
        if era is None:
            return Beginning(None, Start(), None)
        _check(era, topic, way_out)
        start = Start()
        if era.seed is not None:
            seed = store.read_seed(spec.fingerprint, era.seed.sha256, spec.widths)
            start = Start(seed.records, era.seed.as_of)
    except (ArtifactError, StoreError) as error:
        raise UsageError(f"{error}; {way_out}") from error
    return Beginning(era.number, start, era.begin)


def _check(era: Era, topic: str, way_out: str) -> None:
    if era.topic != topic:
        raise UsageError(
            f"era {era.number} of these history features is of topic {era.topic}, and INPUT_TOPIC "
            f"is {topic}; {way_out}"
        )
    if era.has_base:
        raise UsageError(
            f"era {era.number} begins with snapshots of an earlier era, which a file does not "
            f"contain; {way_out}"
        )
