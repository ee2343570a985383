"""Who runs a command, for the records of what was overridden."""

from __future__ import annotations

import getpass
import os
import socket


def operator_name(given: str | None) -> str:
    """``user@host``; ``given`` replaces the user's name, for jobs that run as a service account."""
    return f"{given or _user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has no name
        return f"uid-{os.getuid()}"
