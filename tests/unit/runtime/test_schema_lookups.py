"""Look-ups of schemas: whose fault a failure is, how long a batch waits, what is remembered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from schemas.contracts import AvroSchema
from schemas.resolver import SchemaKey, UnknownSchema
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.schema_lookups import (
    NEGATIVE_SECONDS,
    THREADS,
    TRIES,
    SchemaLookups,
)
from tests.support.waiting import wait_until

SCHEMA: AvroSchema = {"type": "long"}


class Registry:
    """Answers from ``answers``; an exception there is raised, a function is called."""

    def __init__(self) -> None:
        self.answers: dict[SchemaKey, Exception | Callable[[], AvroSchema]] = {}
        self.probe_error: Exception | None = None
        self.asked: Counter[SchemaKey] = Counter()
        self.now = 0.0

    def fetch(self, key: SchemaKey) -> AvroSchema:
        self.asked[key] += 1
        answer = self.answers.get(key, lambda: SCHEMA)
        if isinstance(answer, Exception):
            raise answer
        return answer()

    def probe(self, _: SchemaKey) -> None:
        if self.probe_error is not None:
            raise self.probe_error

    @contextmanager
    def lookups(self, batch_seconds: float = 30.0) -> Iterator[SchemaLookups]:
        found = SchemaLookups(self.fetch, self.probe, batch_seconds, lambda: self.now)
        with closing(found):
            yield found


def resolve(
    lookups: SchemaLookups, keys: list[SchemaKey]
) -> tuple[dict[SchemaKey, AvroSchema], dict[SchemaKey, str]]:
    used: dict[SchemaKey, AvroSchema] = {}
    unknown = lookups.resolve_all(keys, lambda key, schema: used.update({key: schema}))
    return used, unknown


@pytest.mark.parametrize(
    ("error", "advice", "tries"),
    [
        (FatalError("id 7 (HTTP 403)"), "allow this user to read", 1),
        (RetryableError("id 7 (HTTP 500)"), "repair this schema", TRIES),
    ],
)
def test_failure_of_one_schema_is_its_own_while_the_registry_answers(
    error: Exception, advice: str, tries: int
) -> None:
    registry = Registry()
    registry.answers[7] = error
    with registry.lookups() as lookups:
        used, unknown = resolve(lookups, [6, 7, 8])
        assert used == {6: SCHEMA, 8: SCHEMA}
        assert str(error) in unknown[7]
        assert advice in unknown[7]
        assert registry.asked[7] == tries
        with pytest.raises(UnknownSchema):
            lookups.get(7)
        assert registry.asked[7] == tries  # remembered


@pytest.mark.parametrize(
    ("error", "probe", "raised"),
    [
        (RetryableError("down"), RetryableError("down too"), RetryableError),
        (FatalError("refused"), FatalError("refused too"), FatalError),
        (FatalError("refused"), RetryableError("down"), RetryableError),
    ],
)
def test_failure_of_the_registry_is_no_verdict_on_a_schema(
    error: Exception, probe: Exception, raised: type[Exception]
) -> None:
    registry = Registry()
    registry.answers[7], registry.probe_error = error, probe
    with registry.lookups() as lookups:
        with pytest.raises(raised, match=str(error)):
            resolve(lookups, [7])
        del registry.answers[7]
        registry.probe_error = None
        assert resolve(lookups, [7]) == ({7: SCHEMA}, {})


def test_unknown_schema_is_asked_for_again_after_a_while() -> None:
    registry = Registry()
    registry.answers[7] = UnknownSchema("no such schema")
    with registry.lookups() as lookups:
        for _ in range(2):
            assert resolve(lookups, [7]) == ({}, {7: "no such schema"})
        assert registry.asked[7] == 1
        registry.now = NEGATIVE_SECONDS
        del registry.answers[7]
        assert resolve(lookups, [7]) == ({7: SCHEMA}, {})


def test_schema_whose_look_up_hangs_is_remembered_in_proportion() -> None:
    registry = Registry()

    def hang() -> AvroSchema:
        registry.now += 20
        raise RetryableError("timed out")

    registry.answers[7] = hang
    with registry.lookups() as lookups:
        assert resolve(lookups, [7])[1]
        asked, registry.now = registry.asked[7], registry.now + 10 * 20 - 1
        assert resolve(lookups, [7])[1]
        assert registry.asked[7] == asked


def test_look_ups_of_a_batch_run_side_by_side() -> None:
    registry = Registry()
    together = threading.Barrier(THREADS, timeout=90)

    def meet() -> AvroSchema:
        together.wait()  # passes only if this many look-ups run at the same time
        raise UnknownSchema("no such schema")

    keys: list[SchemaKey] = list(range(THREADS * 4))
    registry.answers = dict.fromkeys(keys, meet)
    with registry.lookups() as lookups:
        assert len(resolve(lookups, keys)[1]) == len(keys)


def test_slow_registry_delays_a_batch_and_never_stops_it() -> None:
    """Answers arrive between the attempts, and none of them expires before the batch is done."""
    registry = Registry()
    gates = [threading.Event() for _ in range(3)]

    def answer(gate: threading.Event) -> Callable[[], AvroSchema]:
        def wait() -> AvroSchema:
            assert gate.wait(90)
            raise UnknownSchema("no such schema")

        return wait

    keys: list[SchemaKey] = [1, 2, 3]
    registry.answers = {key: answer(gate) for key, gate in zip(keys, gates, strict=True)}
    with registry.lookups(batch_seconds=0.01) as lookups:
        used: list[SchemaKey] = []

        def use(key: SchemaKey, _: AvroSchema) -> None:
            used.append(key)

        for gate in gates:
            with pytest.raises(RetryableError, match="look-ups are not answered"):
                lookups.resolve_all(keys, use)
            registry.now += 10 * NEGATIVE_SECONDS
            gate.set()
        wait_until(lambda: _is_done(lookups, keys, use), what="all look-ups answered")
    assert registry.asked == dict.fromkeys(keys, 1)
    assert used == []


def _is_done(
    lookups: SchemaLookups, keys: list[SchemaKey], use: Callable[[SchemaKey, AvroSchema], None]
) -> bool:
    try:
        return len(lookups.resolve_all(keys, use)) == len(keys)
    except RetryableError:
        return False


def test_found_schemas_are_bounded_and_all_reach_their_user() -> None:
    registry = Registry()
    keys: list[SchemaKey] = list(range(900))
    with registry.lookups() as lookups:
        used, unknown = resolve(lookups, keys)
        assert len(used) == 900
        assert not unknown
        assert lookups.remembered()[0] <= 200


def test_unknown_schemas_are_bounded() -> None:
    registry = Registry()
    error = UnknownSchema("no such schema")
    with registry.lookups() as lookups:
        for start in range(0, 12_000, 1_000):
            keys: list[SchemaKey] = list(range(start, start + 1_000))
            registry.answers = dict.fromkeys(keys, error)
            assert len(resolve(lookups, keys)[1]) == 1_000
        assert lookups.remembered()[1] == 10_000
