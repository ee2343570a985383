"""The next input gets the score that the scorers then give it, whatever happens to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import orjson
import pytest

from dashboard.history.keeper import LOOK_SECONDS, RETRY_SECONDS, FollowOptions, StoredHistories
from dashboard.history.partitions import LoadedPartition
from dashboard.predicting import predict
from schemas.batch import build_batch
from schemas.layout import Layout
from schemas.rejections import Stage
from stream_scorer.dead_letters.headers import error_headers
from stream_scorer.kafka.spans import Span, Spans
from stream_scorer.state.eras import require_spec
from stream_scorer.state.input_log import Place
from stream_scorer.state.inputs import InputFaults, InputRows, Refused
from tests.support.dashboard_kit import StaticModel
from tests.support.scoring_kit import DLQ, INPUT
from tests.support.state.memory_log import MemoryInputLog
from tests.support.state.world import PARTITIONS, World

ROOM = 10**9


class ClusterLog:
    """What a dashboard reads of a cluster in memory."""

    def __init__(self, inner: MemoryInputLog) -> None:
        self._inner = inner

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        return self._inner.committed(partitions)

    def dead_letters(self, partition: int) -> Span:
        return self._inner.dead_letters(partition)

    def read_dead_letters(
        self, spans: Spans, faults: InputFaults
    ) -> Mapping[int, Mapping[int, Stage]]:
        del faults
        found: dict[int, dict[int, Stage]] = {}
        for partition, span in spans.items():
            records = self._inner.cluster.logs[DLQ, partition][span.low : span.high]
            errors = [error_headers(record.headers) for record in records]
            found[partition] = {int(e["offset"]): Stage(e["stage"]) for e in errors}
        return found

    def read(
        self, spans: Spans, refused: Refused, layout: Layout | None, faults: InputFaults
    ) -> Iterator[InputRows]:
        del faults
        for partition, span in spans.items():
            yield from self._inner.read(partition, span, refused[partition], layout)

    def close(self) -> None:
        self._inner.close()


class Watched:
    """Dashboards beside the scorers of a world; after each step they may score the next inputs."""

    def __init__(
        self, world: World, open_log: Callable[[MemoryInputLog], ClusterLog] = ClusterLog
    ) -> None:
        self.world = world
        self.bundle = world.promoted
        self.model = StaticModel(self.bundle)
        self.random = random.Random(1)
        self.seconds = 0.0
        follow = FollowOptions(lambda: open_log(world.open_log()), INPUT)
        self.follow = StoredHistories(self.model, world.store, ROOM, follow, lambda: self.seconds)
        self.snapshot = StoredHistories(self.model, world.store, ROOM, None, lambda: self.seconds)
        self.expected: dict[tuple[int, int], tuple[bytes, float]] = {}
        self.spec = require_spec(self.bundle)
        self.followed = self.at_snapshot = 0

    def step(self, _: World) -> None:
        if self.random.random() < 0.8:
            return
        self.seconds += self.random.choice([1.0, RETRY_SECONDS, 2 * LOOK_SECONDS])
        self.follow.tick()
        self.snapshot.tick()
        for one in self.loaded(self.follow):
            offset = self.world.cluster.committed.get(one.partition, 0)
            self.followed += self.check(self.follow, one, offset)
        for one in self.loaded(self.snapshot):
            self.at_snapshot += self.check(self.snapshot, one, one.offset)

    def loaded(self, histories: StoredHistories) -> list[LoadedPartition]:
        view = histories._view
        return [] if view is None else view.loaded()

    def check(self, histories: StoredHistories, one: LoadedPartition, offset: int) -> bool:
        """Score the input at an offset; False if it has no score to compare with."""
        place = one.partition, offset
        row = self.world.rows.get(place)
        if row is None or place in self.world.bad or "card1" not in row:
            return False
        columns = histories.read(build_batch([row]), self.spec).columns
        assert columns is not None
        if not self.expected:  # not before the era has begun
            self.expected = self.world.expected(self.bundle)
        features, score = self.expected[place]
        assert columns.values.tobytes() == features, "other features"
        answer = predict(orjson.dumps({"transactions": [row]}), self.bundle, histories)
        assert answer.predictions == [score]
        (note,) = [result["history"] for result in answer.results]
        assert (note["used"], note["partition"], note["offset"]) == (True, *place)
        return True


@pytest.mark.parametrize("seed", range(3))
def test_next_input_gets_the_features_and_the_score_of_the_stream(seed: int) -> None:
    world = World(seed)
    watched = Watched(world)
    world.run(watched.step)
    world.check_outcomes()
    assert watched.followed > 10
    assert watched.at_snapshot > 3
    for histories in (watched.follow, watched.snapshot):
        status = histories.status()
        assert status is not None
        assert (status.loaded, status.problem) == (PARTITIONS, "")


class EagerLog(ClusterLog):
    """Names the input after the committed ones as committed too."""

    def committed(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        return {
            partition: Place((place.offset or 0) + 1)
            for partition, place in super().committed(partitions).items()
        }


def test_history_that_has_seen_the_input_itself_would_be_noticed() -> None:
    """The control: the features above differ if a history is one input ahead."""
    world = World(3)
    watched = Watched(world, EagerLog)
    with pytest.raises(AssertionError, match="other features"):
        world.run(watched.step)
