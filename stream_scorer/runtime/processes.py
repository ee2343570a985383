"""Child processes that end when this process ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import IO, Final

_TICK_SECONDS: Final = 0.05

# Runs between the fork and the program: requests SIGTERM from Linux when the parent ends, then
# executes the program (same pid). It is a separate program, because code between fork and exec may
# deadlock in a process with threads.
_GUARD: Final = f"""
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, {int(signal.SIGTERM)})
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def start_child(
    command: Sequence[str],
    output: IO[bytes] | None = None,
    environment: Mapping[str, str] | None = None,
    inherited: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a program in a new session, so that Ctrl-C reaches only this process.

    On Linux the child gets SIGTERM when this process dies, even by kill -9. Linux ties that signal
    to the *thread* that started the child, so it is requested only in the main thread: a child
    started from another thread outlives a crash of this process. Other systems have no such signal.

    Args:
        command: an absolute path and arguments.
        output: receives standard output and error; None: the child inherits this process's.
        environment: the child's environment; None: it inherits this process's.
        inherited: file descriptors that stay open in the child.
    """
    if sys.platform == "linux" and threading.current_thread() is threading.main_thread():
        command = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *command]
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,
        pass_fds=inherited,
    )


def end_process(pid: int, timeout: float = 10.0) -> None:
    """End a process that is no child of this one, with SIGTERM, or SIGKILL after ``timeout``.

    Raises:
        OSError: there is none with this number, or it belongs to somebody else.
    """
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(_TICK_SECONDS)
    os.kill(pid, signal.SIGKILL)


def end_child(child: subprocess.Popen[bytes], timeout: float) -> int:
    """End a child with SIGTERM, or SIGKILL after ``timeout`` seconds; returns its exit code."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return child.returncode
