"""A dashboard without Kafka or a store: in-memory scores topic, synthetic scores, tiny model."""

from __future__ import annotations

import functools
import itertools
import random
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI

from dashboard.app import build_app
from dashboard.cache.flag import Flag, build_flag
from dashboard.cases.desk import Desk
from dashboard.feed.source import FeedBatch, TopicBounds
from dashboard.history.past import Histories
from dashboard.operations.monitor import Monitor
from dashboard.server import Server, address_of, listen
from dashboard.settings import DashboardSettings
from dashboard.trainings.trainings import Trainings
from schemas.batch import TransactionBatch, build_batch
from schemas.records import encode_record
from schemas.resolver import LocalSchemas
from stream_scorer.errors import RetryableError
from stream_scorer.features.feature_set import FeatureSet
from stream_scorer.features.program import Program
from stream_scorer.model.bundle import Bundle, Draft, Thresholds, build_files, load_bundle
from stream_scorer.model.serving.status import ReloadStatus
from stream_scorer.model.store.memory_store import MemoryStore
from stream_scorer.model.store.port import ArtifactStore
from tests.support.desk.desk_kit import MemoryLog, local_resolvers
from tests.support.factories import make_program
from tests.support.listing.memory_input import MemoryInput
from tests.support.operations.brokers import make_monitor
from tests.support.waiting import wait_until

REVIEW, BLOCK = 0.4, 0.8
PRODUCTS = ("W", "C", "R", "H", "S")
_FEATURES = ("C13", "TransactionAmt", "card1_count", "DeviceInfo", "D2", "P_emaildomain", "V258")


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class MemoryTopic:
    """A scores topic in memory. ``is_down`` makes every read fail."""

    def __init__(self, partitions: int = 2, cluster: str = "memory") -> None:
        self.cluster = cluster
        self.is_down = False
        self.exists = True
        self.topic_id: str | None = "topic 1"
        self.logs: list[list[bytes | None]] = [[] for _ in range(partitions)]
        self.changed = threading.Condition()

    def append(self, value: bytes | None, partition: int = 0) -> None:
        with self.changed:
            self.logs[partition].append(value)
            self.changed.notify_all()

    def open(self) -> MemoryScores:
        return MemoryScores(self)


class MemoryScores:
    """In-memory fake of :class:`dashboard.feed.source.KafkaScores`."""

    def __init__(self, topic: MemoryTopic) -> None:
        self._topic = topic
        self._positions: dict[int, int] = {}

    def fetch_bounds(self) -> TopicBounds | None:
        self._check()
        bounds = {p: (0, len(log)) for p, log in enumerate(self._topic.logs)}
        if not self._topic.exists:
            return None
        return TopicBounds(self._topic.cluster, bounds, self._topic.topic_id)

    def assign(self, offsets: Mapping[int, int]) -> None:
        self._check()
        self._positions = dict(offsets)

    def poll(self, max_records: int, seconds: float) -> FeedBatch:
        self._check()
        with self._topic.changed:
            self._topic.changed.wait_for(self._has_more, seconds)
            records = []
            for partition, position in self._positions.items():
                values = self._topic.logs[partition][position : position + max_records]
                records += [(partition, position + i, v) for i, v in enumerate(values)]
                self._positions[partition] = position + len(values)
            return FeedBatch(records, dict(self._positions))

    def close(self) -> None:
        self._positions = {}

    def _has_more(self) -> bool:
        return any(len(self._topic.logs[p]) > at for p, at in self._positions.items())

    def _check(self) -> None:
        if self._topic.is_down:
            raise RetryableError("kafka: no broker answers")


class StaticModel:
    """A model source that changes only when a test changes it."""

    def __init__(self, bundle: Bundle | None = None, problem: str | None = None) -> None:
        self.current = bundle
        self.status = ReloadStatus(problem=problem, load_seconds=0.25 if bundle else None)


_ids = itertools.count(3_000_000)


def make_score(score: float = 0.9, **more: Any) -> dict[str, Any]:
    """A score record. From ``REVIEW`` up it is flagged and has reasons and a context."""
    number = next(_ids)
    is_flagged = score >= REVIEW
    decision = "BLOCK" if score >= BLOCK else "REVIEW" if is_flagged else "APPROVE"
    record: dict[str, Any] = {
        "transaction_id": number,
        "score": score,
        "decision": decision,
        "is_flagged": is_flagged,
        "review_threshold": REVIEW,
        "block_threshold": BLOCK,
        "model_version": "v7",
        "scored_at": int(time.time() * 1000),
        "event_time": None,
        "reasons": _reasons(score) if is_flagged else [],
        "source": {"topic": "transactions", "partition": 0, "offset": number},
        "context": make_context() if is_flagged else None,
        "is_sampled": False,
    }
    return record | more


def make_flag(
    offset: int,
    scored_at: int = 1000,
    partition: int = 0,
    topic: str = "transactions",
    **more: Any,
) -> Flag:
    """A flag, as the feed builds it from :func:`make_score`."""
    source = {"topic": topic, "partition": partition, "offset": offset}
    record = make_score(**more) | {"source": source, "scored_at": scored_at}
    return build_flag(record, "fraud-scores", partition, offset, "transactions")


def make_context(**more: Any) -> dict[str, Any]:
    """A context with plausible synthetic values."""
    pick = random.Random()
    card = {"card1": float(pick.randint(1000, 18000)), "card2": float(pick.randint(100, 600))}
    kinds = {"card3": 150.0, "card4": pick.choice(["visa", "mastercard"]), "card5": 226.0}
    context: dict[str, Any] = {
        "TransactionDT": pick.randint(86_400, 15_000_000),
        "TransactionAmt": round(pick.lognormvariate(4, 1), 2),
        "ProductCD": pick.choice(PRODUCTS),
        **card,
        **kinds,
        "card6": pick.choice(["debit", "credit"]),
        "addr1": 315.0,
        "addr2": 87.0,
        "P_emaildomain": "gmail.com",
        "R_emaildomain": None,
        "DeviceType": "desktop",
        "DeviceInfo": "Windows",
    }
    return context | more


def _reasons(score: float) -> list[dict[str, Any]]:
    pick = random.Random()
    names = pick.sample(_FEATURES, 5)
    contributions = [round(pick.uniform(0.05, 2 * score), 3) for _ in names]
    contributions.sort(reverse=True)
    values = [str(pick.randint(0, 99)), "Windows", None, "0", "1.25"]
    return [
        {"feature": name, "value": value, "contribution": contribution}
        for name, value, contribution in zip(names, values, contributions, strict=True)
    ]


def encode_score(record: Mapping[str, Any], schema_id: int | None = None) -> bytes:
    return encode_record("fraud_score", dict(record), schema_id)


def make_settings(folder: Path, **more: Any) -> DashboardSettings:
    return DashboardSettings(
        dashboard_state_dir=folder / "dashboard", model_cache_dir=folder / "models", **more
    )


def make_app(
    folder: Path,
    topic: MemoryTopic | None = None,
    model: StaticModel | None = None,
    histories: Histories | None = None,
    *,
    desk_log: MemoryLog | None = None,
    input_topic: MemoryInput | None = None,
    store: ArtifactStore | None = None,
    monitor: Monitor | None = None,
    trainings: Trainings | None = None,
    **settings: Any,
) -> FastAPI:
    topic = topic or MemoryTopic()
    made = make_settings(folder, **settings)
    return build_app(
        made,
        model or StaticModel(),
        topic.open,
        LocalSchemas("fraud_score"),
        make_desk(made, desk_log),
        (input_topic or MemoryInput()).as_inputs(),
        histories=histories,
        store=store or MemoryStore(),
        monitor=monitor or make_monitor(),
        trainings=trainings,
    )


def make_desk(settings: DashboardSettings, desk_log: MemoryLog | None = None) -> Desk:
    """A desk on topics in memory. Replicas share a ``desk_log``."""
    folder = settings.dashboard_state_dir
    return Desk(
        desk_log or MemoryLog(),
        folder,
        folder / "flags.sqlite3",
        local_resolvers(),
        settings.input_topic,
    )


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve the app on a real port of this machine. Yields its address."""
    with listen("127.0.0.1", 0) as listener:
        address = address_of(listener)
        server = Server(app, on_exit=app.state.parts.hub.close)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started, 60, what="the server")
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive(), "the server did not stop"


def is_closed(address: str) -> bool:
    """Whether nothing listens at the address."""
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


@functools.cache
def tiny_bundle(version: str = "v1") -> Bundle:
    """A real bundle, quickly trained on synthetic rows in which large amounts are fraud."""
    import lightgbm

    batch, labels = _training_rows(400)
    features, matrix = FeatureSet.fit_transform(batch, make_program())
    data = lightgbm.Dataset(matrix, labels, feature_name=list(features.names), free_raw_data=False)
    parameters = {"objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5, "verbose": -1,
                  "num_threads": 1, "seed": 1, "learning_rate": 0.3}  # fmt: skip
    booster = lightgbm.train(parameters, data, num_boost_round=15)
    draft = Draft(
        booster.model_to_string(), features, Thresholds(REVIEW, BLOCK), batch.take(slice(0, 8)), {}
    )
    model, rest = build_files(draft)
    return load_bundle({"model.pkl": model, **rest(version)}, version)


def with_texts(texts: dict[str, str], version: str = "v1") -> Bundle:
    """A bundle that cannot score, and whose features have these texts."""
    program = Program("own/1", "", ())
    vars(program)["texts"] = texts
    features = FeatureSet(program, 0, [])
    return replace(tiny_bundle(), version=version, features=features)


def _training_rows(count: int) -> tuple[TransactionBatch, Any]:
    pick = random.Random(7)
    rows = [make_transaction(i, amount=pick.uniform(1, 1000)) for i in range(count)]
    for row in rows:
        row["C13"] = float(pick.randint(0, 40))
    labels = np.array([row["TransactionAmt"] > 700 or row["C13"] > 36 for row in rows], np.float64)
    return build_batch(rows), labels


def make_transaction(number: int = 1, amount: float = 50.0, **more: Any) -> dict[str, Any]:
    return {
        "TransactionID": number,
        "TransactionDT": 86_400 + number,
        "TransactionAmt": amount,
        "ProductCD": "W",
        "card1": 9500.0,
        **more,
    }
