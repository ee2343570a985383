"""A challenger in a process of its own, as the scorer's process sees it.

In one process the challenger would take the GIL from the loop: on a free processor that cost a
fifth of the throughput (``python -m tests.bench.shadow.free``). A process can also be ended, and
its memory can be limited, so that a bad challenger takes nothing from the champion.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from stream_scorer.errors import StoreError
from stream_scorer.model.bundle import Bundle
from stream_scorer.shadow.models import ChallengerEnded, ChallengerFailed, Scored
from stream_scorer.shadow.scoring import ShadowBatch, select
from stream_scorer.shadow.wire import Channel, Segment, TooLarge, Traits, pack, read_scored

log = logging.getLogger(__name__)

START_SECONDS: Final = 120.0
_END_SECONDS: Final = 1.5
_LOOK_SECONDS: Final = 0.5


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

    @property
    def version(self) -> str:
        """Its version."""
        return self.traits.version

    @property
    def history(self) -> str | None:
        """The card history that it reads."""
        return self.traits.history

    def needs_records(self, champion: Bundle) -> bool:
        """Whether it reads other columns than the champion's."""
        layout = champion.features.layout
        return layout is not None and layout.columns != self.traits.columns

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def score(self, job: ShadowBatch) -> Iterator[Scored]:
        """Let it score the chosen transactions of a batch."""
        polled, keys = job.polled, job.keys
        parts = select(job, self._share, self.traits.preprocessor)
        del job  # the loop reuses its memory, which is still in the processor's cache
        while parts:
            try:
                packed = pack(polled, keys, parts.pop(0), self.traits, self._segment.size)
                answer = self._channel.hand_over(packed, self._segment)
                del packed
            except TooLarge as error:
                raise ChallengerFailed(f"the batch is too large: {error}") from error
            except (OSError, EOFError, ValueError) as error:
                raise ChallengerEnded(_ending(self._process)) from error
            if "error" in answer:
                raise ChallengerFailed(str(answer["error"]))
            try:
                yield from read_scored(answer)
            except (LookupError, TypeError, ValueError) as error:
                raise ChallengerEnded(f"its answer cannot be read: {error!r}") from error

    def close(self) -> None:
        """End the process: it sends what its producer has, for a second; then it is killed."""
        self._channel.end()
        _ending(self._process)
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
        traits["preprocessor"],
        traits["history"],
        None if columns is None else tuple(columns),
    )


def _ending(process: subprocess.Popen[bytes]) -> str:
    """How a process ended; one that is still there is killed."""
    try:
        code = process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"its process {how}"
