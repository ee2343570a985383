"""Messages between the scorer and its challenger: JSON, with the length before it."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

MESSAGE_MAX_BYTES: Final = 16 * 1024 * 1024
_LENGTH_BYTES: Final = 4
_CHUNK_BYTES: Final = 1024 * 1024


class Channel:
    """Messages between the two processes, over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = bytearray()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message.

        Raises:
            OSError: the other side has ended.
        """
        self._connection.sendall(framed(json.dumps(message).encode()))

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message.

        Raises:
            TimeoutError: there is none for ``timeout`` seconds.
            EOFError, OSError: the other side has ended.
            ValueError: it is no message.
        """
        if timeout != self._connection.gettimeout():
            self._connection.settimeout(timeout)
        length = int.from_bytes(self._read(_LENGTH_BYTES, taken=0), "big")
        if length > MESSAGE_MAX_BYTES:
            raise ValueError(f"a message of {length} bytes")
        found = json.loads(self._read(_LENGTH_BYTES + length, _LENGTH_BYTES))
        del self._received[: _LENGTH_BYTES + length]
        if not isinstance(found, dict):
            raise ValueError("a message that is no object")
        return found

    def make_blocking(self) -> int:
        """Whoever reads and writes waits; returns the descriptor."""
        self._connection.settimeout(None)
        return self._connection.fileno()

    def end(self) -> None:
        """Send and receive nothing more; any thread may call this.

        A pending :meth:`receive` on either side raises EOFError.
        """
        with suppress(OSError):  # the other side has ended before
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        self._connection.close()

    def _read(self, length: int, taken: int) -> bytes:
        """What was received from ``taken`` to ``length``; after a timeout it continues there."""
        while len(self._received) < length:
            chunk = self._connection.recv(_CHUNK_BYTES)
            if not chunk:
                raise EOFError("the other side has ended")
            self._received += chunk
        return bytes(self._received[taken:length])


def framed(body: bytes) -> bytes:
    """A message with its length before it."""
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body
