"""The process that talks to the MLflow server, so that training never waits for it.

It reads one JSON message a line from standard input and answers the same way on standard output.
:class:`Watchdog` ends it if the server answers nothing after the end of the run. If the trainer is
killed, the input ends without a last message, and the run is marked KILLED.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from trainer.publishing.tracking_session import SENT_STEP_BYTES, Inbox, Outbox, Session, describe


class Watchdog:
    """Ends this process when nothing was answered for too long after the last message."""

    def __init__(self, inbox: Inbox, outbox: Outbox, silent: float, total: float) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._silent = silent
        self._total = total

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self._inbox.is_last.wait()
        ended = time.monotonic()
        while True:
            now = time.monotonic()
            left = min(
                ended + self._total, max(ended, self._outbox.last) + self._silent
            ) - now  # fmt: skip
            if left <= 0:
                os._exit(1)
            time.sleep(left)


def _count_uploads(sent: Callable[[int], None]) -> None:
    """Call ``sent`` for every piece of a request that the socket accepted."""
    import socket

    from urllib3.connection import HTTPConnection

    # With a large send buffer, megabytes seem sent when nothing has left this machine.
    small = (socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_STEP_BYTES)
    HTTPConnection.default_socket_options = [*HTTPConnection.default_socket_options, small]
    send = http.client.HTTPConnection.send

    def counted(connection: http.client.HTTPConnection, data: Any) -> None:
        send(connection, data)
        if isinstance(data, bytes | bytearray | memoryview):
            sent(len(data))

    http.client.HTTPConnection.send = counted  # type: ignore[method-assign,assignment]  # only here


def serve(opening: Mapping[str, Any], inbox: Inbox, outbox: Outbox) -> dict[str, Any]:
    """Connect and handle the messages of one run; returns the last report."""
    try:
        from trainer.publishing.tracking_log import open_log
    except ImportError as error:
        return {"missed": {"run": f"MLflow's client cannot be imported: {error}"}}
    _count_uploads(outbox.sent)
    outbox.report(state="ready")
    Watchdog(inbox, outbox, opening["silent_seconds"], opening["total_seconds"]).start()
    try:
        return Session(inbox, outbox, time.sleep).run(open_log(opening["uri"], outbox.answered))
    except Exception as error:  # an address that MLflow cannot use, or a server's absurd answer
        return {"missed": {"run": describe(error)}}


def main() -> int:
    """Serve one run; the first line of the input says where."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # MLflow prints addresses and warnings, which the trainer would take for reports.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    first = sys.stdin.buffer.readline()
    if first:
        inbox, outbox = Inbox(sys.stdin.buffer), Outbox(replies)
        inbox.start()
        outbox.report(state="ended", **serve(json.loads(first), inbox, outbox))
    return 0


if __name__ == "__main__":
    os._exit(main())  # threads of MLflow and of this module must not delay the end
