"""A stream that is scored with card history, in memory: what ``/predict`` must equal."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from schemas.batch import HistoryColumns, build_batch
from schemas.layout import Layout
from schemas.rejections import Stage
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.dead_letters.repeats import NOT_ACCEPTED, find_first_copies
from stream_scorer.errors import RetryableError
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.history.codec import encode_snapshot
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.records import PartitionRecords
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.model.bundle import Bundle, Draft, Thresholds, build_files, load_bundle
from stream_scorer.model.bundled_history import HistoryDraft
from stream_scorer.model.scoring import score
from stream_scorer.model.store.history_era import Era
from stream_scorer.model.store.history_store import HistoryStore
from stream_scorer.model.store.memory_store import MemoryObjects
from stream_scorer.state.input_log import Place
from stream_scorer.state.inputs import AcceptedInputs, InputFaults, InputRows, Refused
from stream_scorer.state.marks import history_mark
from stream_scorer.state.placement import partitions_of, select_records
from tests.support.audit.forged_topics import Sent, as_records
from tests.support.factories import make_program, make_transaction
from tests.support.history.small_spec import DAY, SPEC

TOPIC: Final = "transactions"
PARTITIONS: Final = 3
NOW: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
CARDS: Final = range(1000, 1012)

DECODER: Final = TransactionDecoder(LocalSchemas())


def make_rows(n: int, first: int = 1, seed: int = 1) -> list[dict[str, Any]]:
    """Transactions of a few clients, who return within minutes and days; larger ones in bursts."""
    rng = np.random.default_rng([seed, first])
    rows = []
    for number in range(first, first + n):
        card = int(rng.integers(CARDS.start, CARDS.stop))
        time = 10 * DAY + 1_700 * number
        rows.append(
            make_transaction(
                number,
                float(np.round(rng.gamma(2.0, 40.0) + 1, 2)),
                TransactionDT=time,
                card1=float(card),
                addr1=float(100 + card % 5),
                D1=float(time // DAY - card % 3),
                C1=float(rng.integers(0, 5)),
                P_emaildomain=str(rng.choice(["gmail.com", "yahoo.com"])),
            )
        )
    return rows


@functools.cache
def history_draft(spec: HistorySpec = SPEC) -> Draft:
    """A model whose scores depend on the history: a client who returns soon is fraud."""
    import lightgbm

    from trainer.history.golden_stream import golden_stream

    batch = build_batch(make_rows(600, seed=3))
    history = PartitionHistory(spec)
    columns, _ = history.columns(batch, np.arange(len(batch)), np.ones(len(batch), np.bool_))
    program = replace(make_program(), history=spec)
    features, matrix = FeatureSet.fit_transform(batch.with_history(columns), program)
    counts = columns.values[:, spec.names.index("client_count_1d")]
    labels = (np.nan_to_num(counts) >= 3).astype(np.float64)
    data = lightgbm.Dataset(matrix, labels, feature_name=list(features.names), free_raw_data=False)
    parameters = {"objective": "binary", "num_leaves": 15, "min_data_in_leaf": 5, "verbose": -1,
                  "num_threads": 1, "seed": 1, "learning_rate": 0.3}  # fmt: skip
    text = lightgbm.train(parameters, data, num_boost_round=20).model_to_string()
    golden = batch.with_history(columns).take(slice(0, 8))
    past = HistoryDraft(golden_stream(spec))
    return Draft(text, features, Thresholds(0.4, 0.8), golden, {}, history=past)


@functools.cache
def history_bundle(version: str = "v1", spec: HistorySpec = SPEC) -> Bundle:
    """A verified bundle of that model."""
    model, rest = build_files(history_draft(spec))
    return load_bundle({"model.pkl": model, **rest(version)}, version)


def make_era(spec: HistorySpec = SPEC, **more: Any) -> Era:
    """The first era of a spec, from the beginning of the topic."""
    number = more.get("number", 1)
    given: dict[str, Any] = {
        "spec": spec.fingerprint,
        "number": 1,
        "topic": TOPIC,
        "topic_id": "",
        "begin": (0,) * PARTITIONS,
        "seed": None,
        "max_keys": 10_000,
        "is_cold": True,
        "why": "a test",
        "created": NOW - timedelta(days=1),
        "id": f"{number:032x}",
    }
    return Era(**(given | more))


@dataclass
class ScoredStream:
    """Inputs and what scorers make of them: scores, dead letters, offsets, marks, histories.

    Attributes:
        era: where histories begin.
        bundle: scores the inputs.
        inputs: by partition.
        dead_letters: by partition, the offset of each input and its stage, in the order written.
        committed: the group's offset and mark by partition.
        scores: by partition and offset of the input.
        is_down: every request fails.
        first_dead_letter: dead letters before it were removed; by partition.
        first_input: inputs before it were removed; by partition.
        seed: the records that the era begins with.
        read_at_once: inputs of one partition.
        hanging: a partition whose last committed input cannot be read yet.
    """

    era: Era = field(default_factory=make_era)
    bundle: Bundle = field(default_factory=history_bundle)
    inputs: list[list[Sent]] = field(init=False)
    dead_letters: list[list[tuple[int, Stage]]] = field(init=False)
    committed: dict[int, Place] = field(default_factory=dict)
    scores: dict[tuple[int, int], float] = field(default_factory=dict)
    histories: list[PartitionHistory] = field(init=False)
    is_down: bool = False
    first_dead_letter: dict[int, int] = field(default_factory=dict)
    first_input: dict[int, int] = field(default_factory=dict)
    seed: PartitionRecords | None = None
    read_at_once: int = 7
    hanging: int | None = None

    def __post_init__(self) -> None:
        count = self.era.partition_count
        self.inputs = [[] for _ in range(count)]
        self.dead_letters = [[] for _ in range(count)]
        self.histories = [self._begin(partition) for partition in range(count)]

    @property
    def spec(self) -> HistorySpec:
        spec = self.bundle.features.program.history
        assert spec is not None
        return spec

    @property
    def count(self) -> int:
        """Inputs of all partitions."""
        return sum(len(records) for records in self.inputs)

    def partition_of(self, row: Mapping[str, Any]) -> int:
        cards = np.array([int(row["card1"])], np.int64)
        return int(partitions_of(cards, self.era.partition_count)[0])

    def produce(
        self, rows: Sequence[Mapping[str, Any]], headers: tuple[tuple[str, bytes | None], ...] = ()
    ) -> list[tuple[int, int]]:
        """Append the records of transactions; their partitions and offsets."""
        places = []
        values = encode_transactions(build_batch(rows))
        for row, value in zip(rows, values, strict=True):
            partition = self.partition_of(row)
            places.append((partition, len(self.inputs[partition])))
            self.inputs[partition].append(Sent(b"key", value, headers))
        return places

    def score(self, refuse: Mapping[tuple[int, int], Stage] | None = None) -> None:
        """Score all inputs that were not scored, and commit.

        Args:
            refuse: inputs that become dead letters, and their stages.
        """
        for partition in range(self.era.partition_count):
            place = self.committed.get(partition)
            first = (place.offset if place else None) or self.era.begin[partition]
            given = {o: stage for (p, o), stage in (refuse or {}).items() if p == partition}
            self._score(partition, first, given)
            self.commit(partition, len(self.inputs[partition]))

    def commit(self, partition: int, offset: int, **mark: str) -> None:
        """Commit an offset with the mark of the history as it is."""
        check_sum = self.histories[partition].check_sum()
        fields = history_mark(self.spec.fingerprint, self.era.number, check_sum).fields()
        self.committed[partition] = Place(offset, fields | mark)

    def snapshot(self, partition: int, created: datetime = NOW) -> bytes:
        """A snapshot of a partition as it is."""
        header = self.era.header(
            partition,
            self.committed[partition].offset or 0,
            dead_letter_offset=len(self.dead_letters[partition]),
            check_sum=self.histories[partition].check_sum(),
            writer="a test",
            created=created,
        )
        return encode_snapshot(header, self.histories[partition].records())

    def store_snapshots(self, store: HistoryStore, created: datetime = NOW) -> None:
        """Write a snapshot of every partition."""
        for partition in range(self.era.partition_count):
            store.create_snapshot(self.era, self.snapshot(partition, created))

    def begin_era(self, era: Era) -> None:
        """Histories begin again, with the inputs from the era's offsets on."""
        self.era = era
        self.histories = [self._begin(partition) for partition in range(era.partition_count)]
        self.committed = {p: Place(offset) for p, offset in enumerate(era.begin)}

    def open(self) -> MemoryLog:
        """What ``follow`` reads."""
        return MemoryLog(self)

    def _begin(self, partition: int) -> PartitionHistory:
        era, spec = self.era, self.spec
        as_of = -1 if era.seed is None else era.seed.as_of
        if self.seed is None:
            return PartitionHistory(spec, era.max_keys, as_of)
        records = select_records(self.seed, partition, era.partition_count)
        return PartitionHistory.restore(spec, records, era.max_keys, as_of)

    def next_score(self, row: Mapping[str, Any]) -> float:
        """The score that a transaction would get as the next input of its partition."""
        (value,) = encode_transactions(build_batch([row]))
        batch = DECODER.decode([value], [None]).batch
        batch = batch.with_history(self.next_columns(row))
        return float(score(batch, self.bundle).scores[0])

    def next_columns(self, row: Mapping[str, Any]) -> HistoryColumns:
        """The features of the past that it would get."""
        history = self.histories[self.partition_of(row)]
        columns, undo = history.columns(build_batch([row]), np.arange(1), np.ones(1, np.bool_))
        history.rollback(undo)
        return columns

    def _score(self, partition: int, first: int, refuse: Mapping[int, Stage]) -> None:
        self.dead_letters[partition] += sorted(refuse.items())
        accepted = [
            (offset, sent)
            for offset, sent in enumerate(self.inputs[partition])
            if offset >= first and refuse.get(offset) not in NOT_ACCEPTED
        ]
        if not accepted:
            return
        headers = [list(sent.headers) for _, sent in accepted]
        batch = DECODER.decode([sent.value for _, sent in accepted], headers).batch
        assert len(batch) == len(accepted)
        history = self.histories[partition]
        columns, undo = history.columns(batch, np.arange(len(batch)), find_first_copies(headers))
        history.settle(undo)
        scores = score(batch.with_history(columns), self.bundle).scores.tolist()
        for (offset, _), found in zip(accepted, scores, strict=True):
            if offset not in refuse:
                self.scores[partition, offset] = found


class MemoryLog:
    """In-memory fake of :class:`dashboard.history.kafka_log.KafkaStreamLog`."""

    def __init__(self, stream: ScoredStream) -> None:
        self._stream = stream
        self.inputs_read = self.dead_letters_read = 0
        self.is_closed = False

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        self._check()
        return {p: self._stream.committed.get(p, Place(None)) for p in partitions}

    def dead_letters(self, partition: int) -> Span:
        self._check()
        first = self._stream.first_dead_letter.get(partition, 0)
        return Span(first, len(self._stream.dead_letters[partition]))

    def read_dead_letters(
        self, spans: Spans, faults: InputFaults
    ) -> Mapping[int, Mapping[int, Stage]]:
        self._check()
        for partition, span in spans.items():
            if (first := self._stream.first_dead_letter.get(partition, 0)) > span.low:
                faults.removed("dlq", partition, span.low, first)
        found = {p: dict(self._stream.dead_letters[p][s.low : s.high]) for p, s in spans.items()}
        self.dead_letters_read += sum(map(len, found.values()))
        return found

    def read(
        self, spans: Spans, refused: Refused, layout: Layout | None, faults: InputFaults
    ) -> Iterator[InputRows]:
        reader = AcceptedInputs(TOPIC, DECODER, refused, layout, None, faults)
        for partition, span in spans.items():
            first = self._stream.first_input.get(partition, 0)
            if first > span.low:
                faults.removed(TOPIC, partition, span.low, first)
            sent = list(enumerate(self._stream.inputs[partition]))[max(first, span.low) : span.high]
            if partition == self._stream.hanging:
                sent.pop()
            size = self._stream.read_at_once
            for at in range(0, len(sent), size):
                self._check()
                self.inputs_read += len(sent[at : at + size])
                rows = reader.read(partition, as_records(partition, sent[at : at + size]))
                if rows is not None:
                    yield rows
        if self._stream.hanging in spans:
            raise RetryableError(f"partition {self._stream.hanging} could not be read")

    def close(self) -> None:
        self.is_closed = True

    def _check(self) -> None:
        if self._stream.is_down:
            raise RetryableError("kafka: no broker answers")


def stored(stream: ScoredStream) -> tuple[HistoryStore, MemoryObjects]:
    """A store with the stream's era."""
    objects = MemoryObjects()
    store = HistoryStore(objects, is_trusted=True)
    assert store.create_era(stream.era)
    return store, objects
