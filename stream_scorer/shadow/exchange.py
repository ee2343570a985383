"""Hands batches over and collects the answers, for a while, in one call without the GIL.

A thread that needs the GIL for each batch makes the loop give it up and wait until the thread was
woken, some hundred microseconds each time. This one needs it a few times a second.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numba import types
from numpy.typing import NDArray

from schemas.compiled import compiled

IDLE: Final = 0
ENDED: Final = 1
FAILED: Final = 2

TAKEN: Final = 0
COPIED: Final = 1
ANSWERED: Final = 2
COUNTERS: Final = 3

PIECES, MESSAGE, ROWS, CHOSEN, COLUMNS, TEXT, STARTS, LENGTHS, TEXT_PLACE = range(9)
JOB_FIELDS: Final = 9
SOURCE, SIZE, BY_ROW, PLACE = range(4)
PIECE_FIELDS: Final = 4

ANSWER_MAX_BYTES: Final = 64 * 1024
FRAME_BYTES: Final = 4  # the length before each message, big-endian

_NS: Final = 1_000_000_000
_MONOTONIC: Final = int(time.CLOCK_MONOTONIC)
_POLLIN: Final = 1

_memcpy = types.ExternalFunction("memcpy", types.intp(types.intp, types.intp, types.intp))
_write = types.ExternalFunction("write", types.intp(types.intc, types.intp, types.intp))
_read = types.ExternalFunction("read", types.intp(types.intc, types.intp, types.intp))
_poll = types.ExternalFunction("poll", types.intc(types.intp, types.uintp, types.intc))
_clock = types.ExternalFunction("clock_gettime", types.intc(types.intc, types.intp))


@compiled
def exchange(
    tokens: int,
    connection: int,
    target: NDArray[np.uint8],
    jobs: NDArray[np.int64],
    pieces: NDArray[np.int64],
    messages: NDArray[np.uint8],
    answers: NDArray[np.uint8],
    ends: NDArray[np.int64],
    counters: NDArray[np.int64],
    waits: NDArray[np.int64],
) -> tuple[int, int]:
    """Hand over jobs as they come, and receive the answer to each.

    Args:
        tokens: a descriptor from which the number of each job is read, a byte each.
        connection: to the other process.
        target: the memory that it shares.
        jobs: int64 ``[jobs, JOB_FIELDS]``.
        pieces: int64 ``[jobs, pieces * PIECE_FIELDS]``: what is copied for a job, and where to.
        messages: uint8 ``[jobs, bytes]``; a job without a message is skipped.
        answers: gets the answers, one after the other.
        ends: int64 ``[answers]``: gets the end of each in ``answers``.
        counters: int64 ``[COUNTERS]``: jobs that were taken, copied and answered, all in all.
        waits: int64 ``[3]``: milliseconds to wait for a first job, for each further one, and for
            all of them.

    Returns:
        Why it returned, and how many answers there are.
    """
    served, at = 0, 0
    token, begun = np.empty(1, np.uint8), _now_ms()
    while True:
        if not _has_input(tokens, waits[0] if served == 0 else waits[1]):
            return IDLE, served
        if _read(np.int32(tokens), token.ctypes.data, 1) != 1:
            return ENDED, served
        job = int(token[0])
        counters[TAKEN] += 1
        size = jobs[job, MESSAGE]
        if size > 0:
            _copy(target, jobs[job], pieces[job])
            if not _send(connection, messages[job], size):
                return FAILED, served
        counters[COPIED] += 1  # after the system call: the copies are complete on all processors
        if size > 0:
            received = _receive(connection, answers, at)
            if received <= 0:
                return FAILED, served
            at += received
        ends[served] = at
        served += 1
        counters[ANSWERED] += 1
        is_full = served == len(ends) or len(answers) - at < ANSWER_MAX_BYTES
        if is_full or _now_ms() - begun >= waits[2]:
            return IDLE, served


@compiled
def _copy(target: NDArray[np.uint8], job: NDArray[np.int64], pieces: NDArray[np.int64]) -> None:
    """Copy the pieces of a job, then the strings, one after the other."""
    begin = target.ctypes.data
    rows = np.empty(job[ROWS], np.int64)
    if job[CHOSEN] != 0:
        _memcpy(rows.ctypes.data, job[CHOSEN], rows.nbytes)
    else:
        rows[:] = np.arange(job[ROWS])
    for i in range(job[PIECES]):
        piece = pieces[i * PIECE_FIELDS : (i + 1) * PIECE_FIELDS]
        source, size, place = piece[SOURCE], piece[SIZE], begin + piece[PLACE]
        if piece[BY_ROW] == 0 or job[CHOSEN] == 0:
            _memcpy(place, source, size * len(rows) if piece[BY_ROW] else size)
            continue
        for row in rows:
            _memcpy(place, source + row * size, size)
            place += size
    columns, place, text = job[COLUMNS], begin + job[TEXT_PLACE], job[TEXT]
    start, length = np.empty(columns, np.int64), np.empty(columns, np.int32)
    for row in rows:
        _memcpy(start.ctypes.data, job[STARTS] + row * start.nbytes, start.nbytes)
        _memcpy(length.ctypes.data, job[LENGTHS] + row * length.nbytes, length.nbytes)
        for column in range(columns):
            if length[column] > 0:
                _memcpy(place, text + start[column], length[column])
                place += length[column]


@compiled
def _send(connection: int, message: NDArray[np.uint8], size: int) -> bool:
    sent = 0
    while sent < size:
        done = _write(np.int32(connection), message.ctypes.data + sent, size - sent)
        if done <= 0:
            return False
        sent += done
    return True


@compiled
def _receive(connection: int, answers: NDArray[np.uint8], at: int) -> int:
    """Receive a message with its length before it; returns its bytes, or 0 if there is none."""
    received, size = 0, FRAME_BYTES
    while received < size:
        place = answers.ctypes.data + at + received
        done = _read(np.int32(connection), place, size - received)
        if done <= 0:
            return 0
        received += done
        if received == FRAME_BYTES:
            for i in range(FRAME_BYTES):
                size += int(answers[at + i]) << (8 * (FRAME_BYTES - 1 - i))
            if size > ANSWER_MAX_BYTES:
                return 0
    return received


@compiled
def _has_input(descriptor: int, milliseconds: int) -> bool:
    """Whether there is something to read, or the other side has ended."""
    wanted = np.zeros(4, np.int16)  # struct pollfd: int fd, short events, short revents
    wanted.view(np.int32)[0] = descriptor
    wanted[2] = _POLLIN
    return bool(_poll(wanted.ctypes.data, np.uint64(1), np.int32(milliseconds)) > 0)


@compiled
def _now_ms() -> int:
    found = np.empty(2, np.int64)  # struct timespec: seconds, nanoseconds
    _clock(np.int32(_MONOTONIC), found.ctypes.data)
    return int((found[0] * _NS + found[1]) // 1_000_000)
