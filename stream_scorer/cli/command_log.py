"""The log of a command: a command reports its own errors, so the driver's lines are left out."""

from __future__ import annotations

import logging
from typing import Final

from stream_scorer.kafka.driver_log import quiet_driver
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.settings import LogSettings, load_settings

_QUIET_SECONDS: Final = 30.0
"""Longer than a command looks for a broker (METADATA_SECONDS) before it says that none answers."""


def configure_command_log() -> None:
    """Configure the log of a command; with ``LOG_LEVEL=DEBUG`` it has the driver's lines too."""
    settings = load_settings(LogSettings)
    configure_logging("stream-scorer", settings)
    if settings.log_level != "DEBUG":
        (handler,) = logging.getLogger().handlers
        handler.addFilter(quiet_driver(_QUIET_SECONDS))
