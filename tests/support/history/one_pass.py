"""What every score should have been: one pass over the inputs of each partition, read from Kafka.

It shares the state of a partition, the decoder and the model's function with the product, and
nothing of what reads, restores or stores histories there.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.batch import HistoryColumns, TransactionBatch
from schemas.records import decode_record
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.driver import TopicPartition
from stream_scorer.kafka.messages import Records
from stream_scorer.kafka.reader import committed_spans, read_spans
from stream_scorer.kafka.spans import Span
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.scoring import score
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.settings import GroupSettings
from stream_scorer.state.placement import partitions_of

_READER: Final = "one-pass"
_STALL_SECONDS: Final = 30.0
_SHOWN: Final = 5
_NEVER_ACCEPTED: Final = {"framing", "schema", "decode", "validate"}
_ACCEPTED_BEFORE: Final = {b"score", b"publish"}
_ERRORS: Final = "__connect.errors."


@dataclass
class OnePass:
    """The comparison of the stream with one pass over its inputs.

    Attributes:
        inputs: data records of the input topic.
        scores: compared scores, by version.
        dead_letters: by stage.
        redriven: inputs that got features and did not advance.
        differing: scores with another bit than the pass gives.
        out_of_order: outcomes that do not follow the one before.
        without_outcome: inputs without an outcome, or with more than one.
        shown: coordinates of the first of all these.
        first_with_history: by partition, the first offset scored with a history.
        ids: ``TransactionID`` of the inputs that advanced a history, int64 ``[n]``.
        features: their features, float64 ``[n, features]``.
        sums: by partition, the check sum of the pass and the one in the group's mark.
    """

    inputs: int = 0
    scores: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    redriven: int = 0
    differing: int = 0
    out_of_order: int = 0
    without_outcome: int = 0
    shown: list[str] = field(default_factory=list)
    first_with_history: dict[int, int] = field(default_factory=dict)
    ids: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    features: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    sums: dict[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def faults(self) -> dict[str, object]:
        """What is wrong; empty if nothing is."""
        found: dict[str, object] = {
            "differing": self.differing,
            "out of order": self.out_of_order,
            "without one outcome": self.without_outcome,
            "check sums": {p: both for p, both in self.sums.items() if both[0] != both[1]},
        }
        found = {name: what for name, what in found.items() if what}
        return found | ({"shown": self.shown} if found else {})

    def note(self, what: str) -> None:
        """Keep a coordinate, if it is one of the first."""
        if len(self.shown) < _SHOWN:
            self.shown.append(what)


@dataclass(frozen=True)
class _Outcomes:
    """By partition and input offset: the score with its version, or the stage of a dead letter."""

    scores: Mapping[int, Mapping[int, tuple[float, str]]]
    stages: Mapping[int, Mapping[int, str]]


def pass_over(
    settings: GroupSettings,
    store: ArtifactStore,
    histories: HistoryStore,
    spec: HistorySpec,
    era: Era | None = None,
) -> OnePass:
    """Compute every score of the group's topics again, from the begin of an era.

    Every outcome has to be committed; no scorer need have ended.

    Args:
        settings: the topics.
        store: with the versions that scored.
        histories: with the era and its seed.
        spec: the features of history.
        era: where the histories begin; None: the newest.
    """
    era = era or histories.latest_era(spec.fingerprint)
    assert era is not None
    found = OnePass()
    outcomes = _read_outcomes(settings, era.partition_count, found)
    bundles = {
        version: load_bundle(store.fetch(version), version)
        for version in sorted({v for of in outcomes.scores.values() for _, v in of.values()})
    }
    ids, features = list[NDArray[np.int64]](), list[NDArray[np.float64]]()
    spans = committed_spans(settings, _READER, settings.input_topic, era.partition_count)
    for partition, span in spans.items():
        own = _PartitionPass(spec, era, histories, bundles, partition)
        seen: list[int] = []
        for records in _read(settings, settings.input_topic, partition, span):
            seen += records.offsets.tolist()
            if (advanced := own.follow(records, outcomes, found)) is not None:
                ids.append(advanced[0])
                features.append(advanced[1])
        _match(partition, seen, outcomes, found)
        found.sums[partition] = (
            f"{own.history.check_sum():016x}",
            _committed_sum(settings, partition),
        )
    if ids:
        found.ids, found.features = np.concatenate(ids), np.concatenate(features)
    return found


class _PartitionPass:
    """The pass over one partition."""

    def __init__(
        self,
        spec: HistorySpec,
        era: Era,
        histories: HistoryStore,
        bundles: Mapping[str, Bundle],
        partition: int,
    ) -> None:
        self.history = _begin(spec, era, histories, partition)
        self._begin_at = era.begin[partition]
        self._bundles = bundles
        self._partition = partition
        self._decoder = TransactionDecoder(LocalSchemas())

    def follow(
        self, records: Records, outcomes: _Outcomes, found: OnePass
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Advance by the next records and compare their scores.

        Returns:
            Ids and features of those that advanced; None if none of the records was accepted.
        """
        stages = outcomes.stages[self._partition]
        offsets = records.offsets.tolist()
        rows = [i for i, o in enumerate(offsets) if stages.get(o) not in _NEVER_ACCEPTED]
        if not rows:
            return None
        headers = [records.headers[i] for i in rows]
        decoded = self._decoder.decode([records.values[i] for i in rows], headers)
        assert not decoded.rejections, (self._partition, decoded.rejections[0])
        first = np.array([_last_stage(given) not in _ACCEPTED_BEFORE for given in headers])
        places = np.array([offsets[i] for i in rows])
        counted = places >= self._begin_at
        values = np.full((len(rows), len(self.history.spec.names)), np.nan)
        undo = self.history.step(decoded.batch, np.flatnonzero(counted), first, values)
        self.history.settle(undo)
        found.redriven += int((~first).sum())
        self._compare(decoded.batch, values, places, outcomes, found)
        advanced = counted & first
        return decoded.batch.ids[advanced], values[advanced]

    def _compare(
        self,
        batch: TransactionBatch,
        values: NDArray[np.float64],
        places: NDArray[np.int64],
        outcomes: _Outcomes,
        found: OnePass,
    ) -> None:
        scores = outcomes.scores[self._partition]
        by_version = defaultdict[str, list[int]](list)
        for row, offset in enumerate(places.tolist()):
            if offset in scores:
                by_version[scores[offset][1]].append(row)
        columns = HistoryColumns(self.history.spec.fingerprint, values)
        for version, chosen in by_version.items():
            bundle, some = self._bundles[version], batch
            if bundle.features.program.history is not None:
                some = batch.with_history(columns)
                at = int(places[chosen[0]])
                known = found.first_with_history.get(self._partition, at)
                found.first_with_history[self._partition] = min(known, at)
            expected = score(some.take(np.array(chosen)), bundle).scores.tolist()
            for row, wanted in zip(chosen, expected, strict=True):
                stated = scores[int(places[row])][0]
                if stated != wanted:
                    found.differing += 1
                    place = f"{self._partition}:{places[row]}"
                    found.note(f"{place} {version} scored {stated!r}, one pass gives {wanted!r}")
            found.scores[version] += len(chosen)


def _begin(
    spec: HistorySpec, era: Era, histories: HistoryStore, partition: int
) -> PartitionHistory:
    """The state at the begin of the era."""
    assert not era.has_base, "the states that this era begins with are not known"
    if era.seed is None:
        return PartitionHistory(spec, era.max_keys)
    widths = {space.name: space.width for space in spec.spaces}
    seed = histories.read_seed(spec.fingerprint, era.seed.sha256, widths).records
    spaces = {}
    for name, words in seed.spaces.items():
        cards = np.ascontiguousarray(words[:, 0]).view(np.int64)
        spaces[name] = words[partitions_of(cards, era.partition_count) == partition]
    records = PartitionRecords(seed.clock, spaces)
    return PartitionHistory.restore(spec, records, era.max_keys, era.seed.as_of)


def _last_stage(headers: object) -> bytes | None:
    found = [value for name, value in headers or () if name == "redrive.stage"]  # type: ignore[attr-defined]
    last = found[-1] if found else None
    return last.encode() if isinstance(last, str) else last


def _read(settings: GroupSettings, topic: str, partition: int, span: Span) -> Iterator[Records]:
    for messages in read_spans(settings, _READER, topic, {partition: span}, _STALL_SECONDS):
        yield Records(messages)


def _read_outcomes(settings: GroupSettings, partitions: int, found: OnePass) -> _Outcomes:
    scores: dict[int, dict[int, tuple[float, str]]] = {p: {} for p in range(partitions)}
    stages: dict[int, dict[int, str]] = {p: {} for p in range(partitions)}
    for topic in (settings.output_topic, settings.dlq_topic):
        for partition, span in committed_spans(settings, _READER, topic, partitions).items():
            last = -1
            for records in _read(settings, topic, partition, span):
                for value, headers in zip(records.values, records.headers, strict=True):
                    if topic == settings.output_topic:
                        fields = decode_record("fraud_score", value)
                        offset = int(fields["source"]["offset"])
                        scores[partition][offset] = fields["score"], fields["model_version"]
                    else:
                        given = {n: v for n, v in headers or () if n.startswith(_ERRORS)}
                        offset = int(_text(given[f"{_ERRORS}offset"]))
                        stage = _text(given[f"{_ERRORS}stage"])
                        stages[partition][offset] = stage
                        found.dead_letters[stage] += 1
                    if offset <= last:
                        found.out_of_order += 1
                        found.note(f"{topic} {partition}: {offset} after {last}")
                    last = offset
    return _Outcomes(scores, stages)


def _text(value: bytes | str | None) -> str:
    assert value is not None
    return value if isinstance(value, str) else value.decode()


def _match(partition: int, seen: list[int], outcomes: _Outcomes, found: OnePass) -> None:
    """Each input has a score or a dead letter, and nothing else has; none has both."""
    found.inputs += len(seen)
    scored, dead = outcomes.scores[partition].keys(), outcomes.stages[partition].keys()
    for wrong in (scored & dead, set(seen) ^ (scored | dead)):
        found.without_outcome += len(wrong)
        for offset in sorted(wrong)[:1]:
            found.note(f"input {partition}:{offset} has not exactly one outcome")


def _committed_sum(settings: GroupSettings, partition: int) -> str:
    """The check sum in the mark that the group committed."""
    consumer = open_consumer(settings, settings.kafka_group_id)
    try:
        (place,) = consumer.committed([TopicPartition(settings.input_topic, partition)], 30)
    finally:
        consumer.close()
    fields = dict(part.partition("=")[::2] for part in (place.metadata or "").split(";"))
    return fields.get("sum", f"none in {place.metadata!r}")


def compare_features(
    found: OnePass, ids: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[int, int]:
    """Compare the features of the stream with those of a pass over other data, bit for bit.

    Args:
        found: the pass over the stream; rows that are not among ``ids`` are left out.
        ids: ``TransactionID`` of the other rows, ascending.
        values: their features.

    Returns:
        Compared rows, and rows in which a bit differs.
    """
    chosen = np.isin(found.ids, ids)
    at = np.searchsorted(ids, found.ids[chosen])
    own = found.features[chosen]
    differs = (values[at].view(np.uint64) != own.view(np.uint64)).any(axis=1)
    return int(chosen.sum()), int(differs.sum())
