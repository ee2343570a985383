"""A partition that fails each time is tried less and less often."""

from __future__ import annotations

from dashboard.history.retries import FIRST_SECONDS, MOST_SECONDS, Retries


def test_each_failure_in_a_row_doubles_the_wait_up_to_an_hour() -> None:
    now = 100.0
    retries = Retries(lambda: now)
    assert retries.is_due(3)
    waits = []
    for _ in range(40):
        retries.failed(3)
        before = now
        while not retries.is_due(3):
            now += FIRST_SECONDS / 2
        waits.append(now - before)
        assert retries.is_due(4)
    assert waits[:4] == [30.0, 60.0, 120.0, 240.0]
    assert waits[-1] == MOST_SECONDS == max(waits)


def test_success_and_another_history_begin_again() -> None:
    now = 100.0
    retries = Retries(lambda: now)
    for is_success in (True, False):
        for _ in range(5):
            retries.failed(3)
        if is_success:
            retries.succeeded(3)
        else:
            retries.forget()
        retries.failed(3)
        now += FIRST_SECONDS
        assert retries.is_due(3)
    retries.failed(3)
    retries.forget()
    assert retries.is_due(3)
