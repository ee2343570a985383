"""A client that is kept between requests is replaced if it gets no answer any more."""

from __future__ import annotations

from typing import cast

import pytest

from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.kafka.driver import Consumer, KafkaError, KafkaException
from stream_scorer.kafka.errors import is_unanswered, translate
from stream_scorer.kafka.kept import FIRST_SECONDS, LONGEST_SECONDS, KeptConsumer

NO_ANSWER = KafkaException(KafkaError(KafkaError._TIMED_OUT))
REFUSED = KafkaException(KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS))


class Clients:
    """Opens clients, and has the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.opened: list[Clients.Client] = []
        self.kept = KeptConsumer(self.open, lambda: self.now)

    class Client:
        def __init__(self) -> None:
            self.is_closed = False

        def close(self) -> None:
            self.is_closed = True

    def open(self) -> Consumer:
        self.opened.append(self.Client())
        return cast("Consumer", self.opened[-1])

    def ask(self, error: Exception | None = None) -> None:
        with self.kept.request():
            if error is not None:
                raise error

    def fail_for(self, seconds: float, error: Exception) -> None:
        for _ in range(int(seconds)):
            self.now += 1.0
            with pytest.raises(type(error)):
                self.ask(error)


def raised_from(cause: KafkaException) -> RetryableError | FatalError:
    error = translate(cause)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("error", [NO_ANSWER, raised_from(NO_ANSWER)])
def test_client_without_an_answer_is_closed_and_the_next_request_has_another(
    error: Exception,
) -> None:
    clients = Clients()
    clients.ask()
    clients.fail_for(FIRST_SECONDS, error)
    assert [c.is_closed for c in clients.opened] == [False]
    clients.fail_for(1, error)
    assert not clients.kept.is_open
    clients.ask()
    assert [c.is_closed for c in clients.opened] == [True, False]


@pytest.mark.parametrize("error", [REFUSED, raised_from(REFUSED)])
def test_refusal_is_an_answer(error: Exception) -> None:
    clients = Clients()
    clients.fail_for(10 * FIRST_SECONDS, error)
    assert len(clients.opened) == 1


def test_answer_in_between_keeps_the_client() -> None:
    clients = Clients()
    for _ in range(3):
        clients.fail_for(FIRST_SECONDS, NO_ANSWER)
        clients.ask()
    assert len(clients.opened) == 1


def test_few_clients_are_opened_in_a_long_outage_and_the_time_is_short_again_afterwards() -> None:
    clients = Clients()
    clients.fail_for(3600, NO_ANSWER)
    assert len(clients.opened) <= 4 + 3600 / LONGEST_SECONDS + 1
    assert all(c.is_closed for c in clients.opened[:-1])
    clients.ask()
    before = len(clients.opened)
    clients.fail_for(FIRST_SECONDS + 2, NO_ANSWER)
    assert len(clients.opened) == before + 1


def test_other_errors_say_nothing_about_the_client() -> None:
    assert not is_unanswered(ValueError("ours"))
    assert not is_unanswered(RetryableError("ours"))
    fatal = KafkaError(KafkaError._FATAL, "x", fatal=True)
    assert not is_unanswered(KafkaException(fatal))
    assert is_unanswered(NO_ANSWER)
