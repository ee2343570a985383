"""The produce command: keys, rate, limits and deliveries."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from schemas.batch import TransactionBatch, build_batch
from stream_scorer.cli.pacing import SERVE_SECONDS, Pacer
from stream_scorer.cli.produce import Interrupted, card_keys, first_rows, produce_batches


def batch_of(*cards: float | None) -> TransactionBatch:
    return build_batch(
        [
            {"TransactionID": i, "TransactionDT": i, "TransactionAmt": 1.0, "card1": card}
            for i, card in enumerate(cards)
        ]
    )


def test_key_is_the_card_as_a_decimal_integer() -> None:
    assert card_keys(batch_of(13926.0, 1e15, 0.0)) == [b"13926", b"1000000000000000", b"0"]


def test_transaction_without_a_card_has_no_key() -> None:
    assert card_keys(batch_of(None)) == [None]


def test_card_that_is_no_integer_keeps_a_key_of_its_own() -> None:
    assert card_keys(batch_of(13926.5)) == [b"13926.5"]


@pytest.mark.parametrize(("limit", "sizes"), [(None, [3, 2]), (4, [3, 1]), (3, [3]), (1, [1])])
def test_first_rows_stop_at_the_limit(limit: int | None, sizes: list[int]) -> None:
    batches = [batch_of(1, 2, 3), batch_of(4, 5)]
    assert [len(batch) for batch in first_rows(iter(batches), limit)] == sizes


class Clock:
    """A clock that advances only when someone waits."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_rate_is_steady() -> None:
    clock = Clock()
    pacer = Pacer(10, clock.wait, clock)
    times = []
    for _ in range(21):
        pacer.before_next()
        times.append(clock.now)
    assert times[-1] - times[0] == pytest.approx(2.0)
    assert max(b - a for a, b in pairwise(times)) == pytest.approx(0.1)


def test_stall_is_not_followed_by_a_burst() -> None:
    clock = Clock()
    pacer = Pacer(10, clock.wait, clock)
    pacer.before_next()
    clock.now += 60
    pacer.before_next()
    begun = clock.now
    for _ in range(10):
        pacer.before_next()
    assert clock.now - begun == pytest.approx(1.0)


def test_slow_rate_serves_callbacks_while_it_waits() -> None:
    clock = Clock()
    pacer = Pacer(0.5, clock.wait, clock)
    pacer.before_next()
    pacer.before_next()
    assert max(clock.waits) <= SERVE_SECONDS
    assert clock.now == pytest.approx(102.0)


def test_without_a_rate_there_is_no_wait() -> None:
    clock = Clock()
    pacer = Pacer(None, clock.wait, clock)
    for _ in range(1000):
        pacer.before_next()
    assert clock.now == 100.0


class DeliveryError:
    """The part of the driver's error that is used."""

    def str(self) -> str:
        return "message too large"


class Driver:
    """A fake of the driver's producer: a queue of two, and one record it cannot deliver."""

    def __init__(self, undeliverable: bytes | None = None) -> None:
        self.sent: list[bytes | None] = []
        self.full = 0
        self._queue: deque[Callable[[], None]] = deque()
        self._undeliverable = undeliverable

    def produce(self, _topic: str, _value: bytes, key: bytes | None, on_delivery: Any) -> None:
        if len(self._queue) == 2:
            self.full += 1
            raise BufferError
        self.sent.append(key)
        error = DeliveryError() if key == self._undeliverable else None
        self._queue.append(lambda: on_delivery(error, None))

    def poll(self, _seconds: float) -> int:
        served = len(self._queue)
        while self._queue:
            self._queue.popleft()()
        return served

    def flush(self, seconds: float) -> int:
        self.poll(seconds)
        return 0


def test_full_queue_is_waited_for_and_every_delivery_counted() -> None:
    driver: Any = Driver(undeliverable=b"3")
    produced = produce_batches(driver, "transactions", [batch_of(1, 2, 3), batch_of(4, 5)])
    assert driver.sent == [b"1", b"2", b"3", b"4", b"5"]
    assert driver.full == 2
    assert (produced.sent, produced.delivered, produced.failed) == (5, 4, 1)
    assert produced.first_error == "message too large"


def test_stopping_flushes_and_keeps_the_counts() -> None:
    driver: Any = Driver()
    with pytest.raises(Interrupted) as caught:
        produce_batches(
            driver,
            "transactions",
            [batch_of(1, 2, 3)],
            fmt="json",
            is_stopping=lambda: len(driver.sent) == 2,
        )
    assert caught.value.produced.delivered == 2
