"""Child processes that end with this one, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Final

# Runs between fork and the program: asks Linux for SIGTERM when the parent ends, then becomes the
# program (same pid). A program of its own, since code between fork and exec of a process with
# threads may deadlock.
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
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that Ctrl-C reaches this process alone.

    On Linux it gets SIGTERM when this process dies, kill -9 included. Linux ties that to the
    *thread* that started it, so it is asked for only in the main thread: a child started elsewhere
    outlives a crash of this process. Other systems have no such signal.

    Args:
        command: an absolute path and arguments.
        output: gets standard output and error; None: they go where this process's own go.
        environment: instead of this process's own.
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
    )


def end_child(child: subprocess.Popen[bytes], timeout: float) -> int:
    """End a child by SIGTERM, or by SIGKILL after ``timeout`` seconds; its exit code."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return child.returncode
