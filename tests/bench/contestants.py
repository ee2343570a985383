"""The contestants: the whole scorer, its upper bounds, and its alternatives."""

from __future__ import annotations

import hashlib
import io
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import fastavro
import lightgbm
import numpy as np
from numpy.typing import NDArray

from schemas.batch import TransactionBatch, concatenate
from schemas.contracts import load_schema, schema_fingerprint
from schemas.framing import prefix
from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder, encode_transactions, plain_types
from stream_scorer.cli.produce import produce_batches
from stream_scorer.features.builtin import IEEE_CIS, load_builtin
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program
from stream_scorer.kafka.admin import create_topics
from stream_scorer.kafka.clients import open_admin, open_producer
from stream_scorer.local.jars import cache_folder
from stream_scorer.model.bundle import Bundle, Draft, Thresholds, build_files, load_bundle
from stream_scorer.model.bundled_history import HistoryDraft
from stream_scorer.model.calibration import to_scores
from stream_scorer.model.forest.predictor import build_predictor
from stream_scorer.model.scoring import score
from stream_scorer.process.topics import wanted_topics
from stream_scorer.process.warm import warm
from stream_scorer.runtime.settings import KafkaSettings, TopicSettings
from stream_scorer.stream.kafka_broker import KafkaBroker
from stream_scorer.stream.kafka_options import GroupOptions
from stream_scorer.stream.loop import LoopOptions, ScorerLoop, Step
from stream_scorer.stream.outcome import Destinations
from stream_scorer.stream.pipeline import Pipeline
from stream_scorer.stream.ports import Histories, NoHistories, Outgoing
from stream_scorer.stream.rejections.guard import RejectionGuard, RejectionPolicy
from tests.bench.at_least_once import AtLeastOnceBroker
from tests.bench.history_scorer import add_history, open_histories
from tests.bench.lean import LeanPlan, make_plan
from tests.bench.peers import PEERS_PYTHON, lean_by_hand, quix_streams, usual_by_hand
from tests.bench.shadow.runs import SHARES, Attach, Beside, RowCounter
from tests.support.names import random_topics
from trainer.data.source import SyntheticSource
from trainer.history.golden_stream import golden_stream

WHOLE: Final = "whole scorer, exactly once"
WITH_HISTORY: Final = "whole scorer with card history"
PARTITIONS: Final = 12
_ONE_ROW_CALLS: Final = 500
_ALONE_ROWS: Final = 10_000  # for what is measured without Kafka
FLAGGED_SHARE: Final = 0.035
HISTORY: Final = "history/1"
_TRAINING_ROWS: Final = 20_000


def challenger_name(share: float) -> str:
    """The scorer with a challenger that scores this share of the transactions."""
    return f"whole scorer with challenger, share {share:g}"


@dataclass
class World:
    """A broker with a full input topic, a large model, and the same data in memory."""

    settings: KafkaSettings
    topics: TopicSettings
    rows: int
    batch_size: int
    bundle: Bundle
    booster: Any
    batch: TransactionBatch
    values: list[bytes]
    matrix: NDArray[np.float64]
    quiet: Bundle
    plan: LeanPlan
    draft: Draft
    decoder: TransactionDecoder
    remembering: Bundle
    past_draft: Draft  # of the bundle that remembers
    processor_microseconds: float = 0.0  # a row, of the whole process, in the last run
    shadow_rows: int = 0  # that the challenger scored in the last run with one
    _group: str = ""

    @property
    def flagged_share(self) -> float:
        """The share of records that the model flags."""
        return float(score(self.batch, self.bundle).flagged.mean())

    def contestants(self) -> dict[str, Callable[[], float]]:
        """Name → a function that runs the contestant and returns rows per second."""
        return {
            WHOLE: self.whole_scorer,
            WITH_HISTORY: lambda: self.score_all(self.remembering),
            **{challenger_name(s): partial(self.with_challenger, s) for s in SHARES},
            "scorer, none flagged": lambda: self._whole(self._join(), self.quiet),
            "scorer, at least once": lambda: self._whole(
                self._join_without_transactions(), self.bundle
            ),
            "pass-through, exactly once": self.pass_through,
            "Booster.predict alone, one thread": lambda: self._rate(self._booster),
            "compiled predictor alone": lambda: self._rate(self._predict),
            "Booster.predict, one row": lambda: self._one_by_one(self._booster),
            "compiled predictor, one row": lambda: self._one_by_one(self._predict),
            "decode and features alone": lambda: self._rate(self._decode_features),
            "fastavro decode alone": lambda: self._rate(self._fastavro, 2000),
            "by hand, numpy row, one-row predict": self._lean,
            "usual way, one-row DataFrame": self._usual,
            **({"Quix Streams, lean, exactly once": self._quix} if PEERS_PYTHON.exists() else {}),
        }

    def _lean(self) -> float:
        source, target = self.topics.input_topic, self.topics.output_topic
        return lean_by_hand(self.settings, source, target, self.plan, self.booster, 1000)

    def _usual(self) -> float:
        source, target = self.topics.input_topic, self.topics.output_topic
        return usual_by_hand(self.settings, source, target, self.plan, self.booster, 40)

    def _quix(self) -> float:
        source = self.topics.input_topic
        return quix_streams(self.settings, source, self.plan, self.booster, 1000, PARTITIONS)

    def whole_scorer(self) -> float:
        """The scorer's loop, until everything is committed; rows per second."""
        return self._whole(self._join(), self.bundle)

    def score_all(self, bundle: Bundle, attach: Attach = lambda _pipeline, seen: seen) -> float:
        """The scorer's loop with another bundle; rows per second."""
        return self._whole(self._join(), bundle, attach)

    def with_challenger(self, share: float, *, is_yielding: bool = False) -> float:
        """The scorer's loop with a challenger beside it; rows per second."""
        beside = Beside(
            self.settings, self.topics, self.draft, PARTITIONS, share, is_yielding=is_yielding
        )
        try:
            return self._whole(self._join(), self.bundle, beside.attach)
        finally:
            beside.stop()
            self.shadow_rows = beside.seen.rows

    def _whole(
        self,
        broker: KafkaBroker,
        bundle: Bundle,
        attach: Attach = lambda _pipeline, observer: observer,
    ) -> float:
        seen = RowCounter()
        head = prefix(schema_fingerprint(load_schema("fraud_score")), None)
        pipeline = Pipeline(
            TransactionDecoder(LocalSchemas()),
            Destinations(self.topics.output_topic, self.topics.dlq_topic, head, {}),
        )
        guard = RejectionGuard(RejectionPolicy())
        options = LoopOptions(self.batch_size, 0.5)
        histories, stop = self._histories(broker, bundle)
        observer = attach(pipeline, seen)
        loop = ScorerLoop(broker, pipeline, histories, guard, observer, options)
        try:
            while seen.rows == 0 or broker.held():  # histories are being restored
                loop.run_once()
            started, before, used = time.perf_counter(), seen.rows, time.process_time()
            while seen.rows < self.rows:
                if loop.run_once() is Step.ABORTED:
                    raise AssertionError("a benchmark must not abort")
            used = time.process_time() - used
            self.processor_microseconds = used / (seen.rows - before) * 1e6
            return (seen.rows - before) / (time.perf_counter() - started)
        finally:
            broker.close()
            stop()

    def _histories(
        self, broker: KafkaBroker, bundle: Bundle
    ) -> tuple[Histories, Callable[[], object]]:
        """What the loop advances, and what stops its threads."""
        if bundle.features.program.history is None:
            return NoHistories(lambda: bundle), lambda: None
        return open_histories(self.settings, self.topics, self._group, broker, bundle)

    def pass_through(self) -> float:
        """Poll, publish the same number of records of a score's size, commit."""
        broker = self._join()
        small = bytes(120)
        done = 0
        started, before = 0.0, 0
        try:
            while done < self.rows:
                polled = broker.poll(self.batch_size, 0.5)
                if polled is None:
                    continue
                txn = broker.begin()
                txn.publish(
                    [
                        Outgoing(self.topics.output_topic, p, k, small, [])
                        for p, k in zip(polled.partitions.tolist(), polled.keys, strict=True)
                    ]
                )
                txn.commit(polled)
                done += len(polled)
                if not started:
                    started, before = time.perf_counter(), done
            return (done - before) / (time.perf_counter() - started)
        finally:
            broker.close()

    def _join(self) -> KafkaBroker:
        return KafkaBroker(self.settings, self._options())

    def _join_without_transactions(self) -> KafkaBroker:
        return AtLeastOnceBroker(self.settings, self._options())

    def _options(self) -> GroupOptions:
        self._group = f"bench-{uuid.uuid4().hex[:8]}"
        return GroupOptions(self._group, self.topics.input_topic)

    def _one_by_one(self, run: Callable[[int, int], None]) -> float:
        run(0, 1)
        started = time.perf_counter()
        for row in range(_ONE_ROW_CALLS):
            run(row, row + 1)
        return _ONE_ROW_CALLS / (time.perf_counter() - started)

    def _rate(self, run: Callable[[int, int], None], rows: int | None = None) -> float:
        size = self.batch_size
        total = min(rows or _ALONE_ROWS, len(self.batch))
        run(0, min(size, total))
        started = time.perf_counter()
        for first in range(0, total, size):
            run(first, min(first + size, total))
        return total / (time.perf_counter() - started)

    def _booster(self, first: int, last: int) -> None:
        self.booster.predict(self.matrix[first:last], num_threads=1)

    def _predict(self, first: int, last: int) -> None:
        self.bundle.predictor.raw(self.matrix[first:last])

    def _decode_features(self, first: int, last: int) -> None:
        values = self.values[first:last]
        decoded = self.decoder.decode(values, [None] * len(values))
        self.bundle.features.transform(decoded.batch)

    def _fastavro(self, first: int, last: int) -> None:
        schema = fastavro.parse_schema(plain_types(load_schema("transaction")))
        for value in self.values[first:last]:
            fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None)


def synthetic_rows(rows: int, seed: int) -> tuple[TransactionBatch, NDArray[np.int8]]:
    """Synthetic transactions and their labels."""
    chunks = list(SyntheticSource(rows, seed).chunks(lambda _: None))
    labels = [c.labels for c in chunks if c.labels is not None]
    return concatenate([c.batch for c in chunks]), np.concatenate(labels)


def build_world(
    settings: KafkaSettings,
    rows: int,
    trees: int,
    leaves: int,
    batch_size: int,
    say: Callable[[str], None],
) -> World:
    """Train, and fill the input topic. The thresholds flag ``FLAGGED_SHARE`` of the records."""
    say(f"kernels ready in {warm():.1f} s; synthetic transactions …")
    train_batch, labels = synthetic_rows(_TRAINING_ROWS, 7)
    # No row comes twice: half a year late to its card's history, a quarter of them would be
    # flagged, and each flagged row costs 40 µs more (measured).
    stream, _ = synthetic_rows(rows, 21)
    say("training …")
    booster, draft = _draft(load_builtin(IEEE_CIS), trees, leaves, (train_batch, labels), stream)
    features, bundle = draft.features, _bundle(draft)
    matrix = features.transform(stream.take(slice(_ALONE_ROWS)))
    quiet = _bundle(replace(draft, thresholds=Thresholds(1.0, 1.0)))
    past = replace(load_builtin(IEEE_CIS), history=load_builtin(HISTORY).history)
    _, past_draft = _draft(past, trees, leaves, (train_batch, labels), stream)
    say("filling the input topic …")
    topics = random_topics()
    admin = open_admin(settings)
    create_topics(admin, wanted_topics(topics), PARTITIONS, 1)
    produce_batches(open_producer(settings), topics.input_topic, [stream])
    return World(
        settings, topics, rows, batch_size, bundle, booster, stream, encode_transactions(stream),
        matrix, quiet, make_plan(features), draft, TransactionDecoder(LocalSchemas()),
        _bundle(past_draft), past_draft,
    )  # fmt: skip


def train_draft(program: Program, trees: int, leaves: int, stream: TransactionBatch) -> Draft:
    """A model like the world's own."""
    return _draft(program, trees, leaves, synthetic_rows(_TRAINING_ROWS, 7), stream)[1]


def _draft(
    program: Program,
    trees: int,
    leaves: int,
    train: tuple[TransactionBatch, NDArray[np.int8]],
    stream: TransactionBatch,
) -> tuple[Any, Draft]:
    """The trained Booster, and the draft whose thresholds flag ``FLAGGED_SHARE`` of the stream."""
    batch, labels = add_history(train[0], program.history), train[1]
    stream = add_history(stream, program.history)
    features, train_matrix = FeatureSet.fit_transform(batch, program)
    params = {
        "objective": "binary", "num_leaves": leaves, "learning_rate": 0.02, "verbosity": -1,
        "min_data_in_leaf": 20, "feature_fraction": 0.5, "num_threads": 2, "seed": 1,
    }  # fmt: skip
    booster = _trained(params, trees, features, train_matrix, labels)
    text, golden = booster.model_to_string(), stream.take(slice(8))
    raw = build_predictor(text).raw(features.transform(stream))
    cut = float(np.quantile(to_scores(raw, None), 1 - FLAGGED_SHARE))
    spec = program.history
    history = None if spec is None else HistoryDraft(golden_stream(spec))
    thresholds = Thresholds(cut, max(cut, 0.9))
    return booster, Draft(text, features, thresholds, golden, {}, history=history)


def _bundle(draft: Draft) -> Bundle:
    model, rest = build_files(draft)
    return load_bundle({"model.pkl": model, **rest("v1")}, "v1")


def _trained(
    params: dict[str, Any],
    trees: int,
    features: FeatureSet,
    matrix: NDArray[np.float64],
    labels: NDArray[np.int8],
) -> Any:
    """The model. A large one takes minutes to train, so it is cached for the next run."""
    key = json.dumps([params, trees, features.names, lightgbm.__version__, len(matrix)])
    kept = cache_folder() / "bench" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.txt"
    if kept.exists():
        return lightgbm.Booster(model_file=str(kept))
    data = lightgbm.Dataset(matrix, labels, feature_name=list(features.names))
    booster = lightgbm.train(params, data, trees)
    kept.parent.mkdir(parents=True, exist_ok=True)
    booster.save_model(str(kept))
    return booster
