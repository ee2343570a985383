"""A challenger in a process of its own, as the scorer's process sees it.

In one process the challenger would take the GIL from the loop: on a free processor that cost a
fifth of the throughput (``python -m tests.bench.shadow.free``). A process can also be ended, and
its memory can be limited, so that a bad challenger takes nothing from the champion.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from stream_scorer.errors import StoreError
from stream_scorer.shadow.channel import Channel
from stream_scorer.shadow.exchange import ANSWER_MAX_BYTES, FRAME_BYTES, IDLE, exchange
from stream_scorer.shadow.models import Answer
from stream_scorer.shadow.scoring import ShadowBatch, choose_rows
from stream_scorer.shadow.slots import Slots
from stream_scorer.shadow.wire import Segment, TooLarge, Traits, pack, read_scored

log = logging.getLogger(__name__)

START_SECONDS: Final = 120.0
_END_SECONDS: Final = 1.5
_LOOK_SECONDS: Final = 0.5
_ANSWERS: Final = 32
_NEXT_MS: Final = 50
"""Without another batch for so long, the answers are read."""

_COLLECT_MS: Final = 250


class ChallengerRefused(Exception):
    """A version cannot be the challenger of this process."""


class ChallengerProcess:
    """A challenger in a process of its own.

    Args:
        process: where it runs.
        channel: to it.
        segment: memory that both share.
        traits: what it said when it was loaded.
        share: of the transactions, scored by it.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        channel: Channel,
        segment: Segment,
        traits: Traits,
        share: float,
    ) -> None:
        self._process = process
        self._channel = channel
        self._segment = segment
        self.traits = traits
        self._share = share
        self._slots = Slots()
        self._tokens, self._taken = socket.socketpair()
        self._tokens.setblocking(False)
        self._offered: deque[tuple[int, str | None]] = deque()
        self._answers = np.empty(_ANSWERS * ANSWER_MAX_BYTES, np.uint8)
        self._ends = np.zeros(_ANSWERS, np.int64)
        self._collecting = threading.Lock()
        self._is_closed = False

    @property
    def version(self) -> str:
        """Its version."""
        return self.traits.version

    @property
    def history(self) -> str | None:
        """The card history that it reads."""
        return self.traits.history

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def offered(self) -> int:
        """Parts of batches that it was given."""
        return self._slots.filled

    @property
    def answered(self) -> int:
        """Parts that it is ready with."""
        return self._slots.answered

    def waiting(self) -> tuple[int, int]:
        """Parts that were not yet taken, and their bytes."""
        return self._slots.waiting()

    def offer(self, job: ShadowBatch) -> int:
        """Put the chosen rows of a batch where the other thread copies them from."""
        self._slots.release()
        left_out = 0
        for part, rows in choose_rows(job, self._share):
            n = len(part.where) if rows is None else len(rows)
            if self._is_closed or self._slots.is_full:
                left_out += n
                continue
            error = None
            try:
                size = self._segment.size
                packed = pack(job.polled, part, rows, self.traits, size)
                slot = self._slots.fill(packed)
            except TooLarge as problem:
                error = f"the batch is too large: {problem}"
                slot = self._slots.fill(None)
            self._offered.append((n, error))
            try:
                self._tokens.send(bytes([slot]))
            except OSError:  # it has ended; who collects its answers notices
                break
        return left_out

    def collect(self, seconds: float) -> list[Answer]:
        """Hand over what was offered, for a quarter of a second at most."""
        with self._collecting:
            if self._is_closed:
                return []
            waits = np.array([int(seconds * 1000), _NEXT_MS, _COLLECT_MS])
            slots = self._slots
            status, served = exchange(
                self._taken.fileno(),
                self._channel.make_blocking(),
                self._segment.bytes,
                slots.jobs,
                slots.pieces,
                slots.messages,
                self._answers,
                self._ends,
                slots.counters,
                waits,
            )
        slots.release()
        answers = self._read_answers(served)
        if status != IDLE and not self._is_closed:
            rows, _ = self._offered.popleft() if self._offered else (0, None)
            answers.append(Answer(rows, (), _ending(self._process), has_ended=True))
        return answers

    def _read_answers(self, n: int) -> list[Answer]:
        found, begin = [], 0
        for end in self._ends[:n].tolist():
            rows, error = self._offered.popleft()
            body = self._answers[begin + FRAME_BYTES : end].tobytes()
            begin = end
            found.append(Answer(rows, (), error) if error else _read_answer(rows, body))
        return found

    def close(self) -> None:
        """End the process: it sends what its producer has, for a second; then it is killed."""
        self._is_closed = True
        for one in (self._tokens, self._taken):
            with suppress(OSError):  # the other side has ended before
                one.shutdown(socket.SHUT_RDWR)
        self._channel.end()
        _ending(self._process)
        # Another thread may still read from the descriptors.
        if self._collecting.acquire(timeout=_END_SECONDS):
            self._collecting.release()
            for one in (self._tokens, self._taken):
                one.close()
            self._channel.close()
        self._segment.close()


class ProcessStarter:
    """Starts a process for a challenger.

    Args:
        command: the program; it gets more arguments.
        settings: of this process; the other one has the same.
        share: of the transactions, scored by it.
        partitions: of the input topic.
        segment_bytes: the largest batch.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: BaseSettings,
        share: float,
        partitions: int,
        segment_bytes: int,
    ) -> None:
        self._command = tuple(command)
        self._environment = {**os.environ, **environment_of(settings)}
        self._share = share
        self._partitions = partitions
        self._segment_bytes = segment_bytes
        self._is_stopping = False

    def stop(self) -> None:
        """Start none any more; any thread may call this."""
        self._is_stopping = True

    def start(self, version: str, memory: int) -> ChallengerProcess:
        """Start a process that loads ``version``, and wait until it has.

        Args:
            version: in the store.
            memory: bytes that the process may take.

        Raises:
            ChallengerRefused: it cannot be loaded, with the reason.
            StoreError: the store did not answer.
        """
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        try:
            segment = Segment(self._segment_bytes)
            try:
                with theirs:
                    process = self._open(version, memory, theirs.fileno(), segment)
            except BaseException:
                segment.close()
                raise
        except OSError as error:
            channel.close()
            raise ChallengerRefused(f"its process cannot be started: {error}") from error
        try:
            traits = self._await(process, channel)
        except BaseException:
            process.kill()
            process.wait()
            channel.close()
            segment.close()
            raise
        return ChallengerProcess(process, channel, segment, traits, self._share)

    def _await(self, process: subprocess.Popen[bytes], channel: Channel) -> Traits:
        deadline = time.monotonic() + START_SECONDS
        while not self._is_stopping and time.monotonic() < deadline:
            try:
                return _read_traits(channel.receive(_LOOK_SECONDS))
            except TimeoutError:
                continue
            except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
                raise ChallengerRefused(_ending(process)) from error
        raise ChallengerRefused(f"it was not loaded within {START_SECONDS:g} s")

    def _open(
        self, version: str, memory: int, connection: int, segment: Segment
    ) -> subprocess.Popen[bytes]:
        numbers = (connection, segment.fd, segment.size, memory, self._partitions, os.getpid())
        return subprocess.Popen(
            [*self._command, version, *map(str, numbers)],
            stdin=subprocess.DEVNULL,
            env=self._environment,
            pass_fds=(connection, segment.fd),
            start_new_session=True,  # Ctrl-C reaches only this process
        )


def start_command(module: str) -> tuple[str, ...]:
    """The command of a Python module."""
    return (sys.executable, "-m", module)


def environment_of(settings: BaseSettings) -> dict[str, str]:
    """Variables that give the settings that were set."""
    found = {}
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            found[name.upper()] = text
    return found


def _read_traits(answer: Mapping[str, Any]) -> Traits:
    if "unavailable" in answer:
        raise StoreError(str(answer["unavailable"]))
    if "refused" in answer:
        raise ChallengerRefused(str(answer["refused"]))
    traits = answer["traits"]
    columns = traits["columns"]
    return Traits(
        str(traits["version"]),
        traits["history"],
        None if columns is None else tuple(columns),
    )


def _read_answer(rows: int, body: bytes) -> Answer:
    try:
        message = json.loads(body)
        if "error" in message:
            return Answer(rows, (), str(message["error"]))
        return Answer(rows, read_scored(message))
    except (LookupError, TypeError, ValueError) as error:
        return Answer(rows, (), f"its answer cannot be read: {error!r}", has_ended=True)


def _ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended; one that is still there is killed."""
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"its process {how}"
