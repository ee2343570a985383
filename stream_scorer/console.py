"""What the commands share: their words to the user, and topics that must exist."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import orjson

from stream_scorer.errors import RetryableError, UsageError
from stream_scorer.runtime.kafka import AdminClient, open_admin, topic_partitions
from stream_scorer.runtime.settings import KafkaSettings

METADATA_SECONDS: Final = 10.0
"""How long a command waits for a broker that may not be there before it says so."""


def say(line: str = "") -> None:
    """One line of a command's result on standard output, there at once for a reader in a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def say_json(value: Any) -> None:
    """One JSON value on one line of standard output."""
    say(orjson.dumps(value).decode())


def note(line: str) -> None:
    """A word to the person at the terminal; never part of the result."""
    sys.stderr.write(line + "\n")


def existing_topics(
    settings: KafkaSettings, topics: Sequence[str], admin: AdminClient | None = None
) -> dict[str, int]:
    """Partition counts of those of ``topics`` that exist.

    Raises:
        UsageError: no broker answers, with what to do.
        FatalError: the broker refuses us.
    """
    admin = admin or open_admin(settings)
    try:
        return topic_partitions(admin, topics, METADATA_SECONDS)
    except RetryableError as error:
        raise UsageError(
            f"no Kafka broker answers at {settings.kafka_bootstrap_servers} within "
            f"{METADATA_SECONDS:.0f} s ({error}); set KAFKA_BOOTSTRAP_SERVERS, or start one here "
            "with: stream-scorer broker"
        ) from error


def require_topics(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Partition counts of ``topics``, all of which must exist.

    Raises:
        UsageError: no broker answers or a topic is missing, with what to do.
    """
    found = existing_topics(settings, topics)
    if missing := [topic for topic in topics if topic not in found]:
        raise UsageError(
            f"no such topic at {settings.kafka_bootstrap_servers}: {', '.join(missing)}; "
            "make the topics with: stream-scorer topics create"
        )
    return found


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows as lines whose columns line up; the columns numbered in ``right`` end flush."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def count_noun(number: int, noun: str) -> str:
    """``1 transaction``, ``1,200 transactions``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
