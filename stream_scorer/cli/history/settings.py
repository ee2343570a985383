"""What the commands of card history read from the environment."""

from __future__ import annotations

from stream_scorer.runtime.settings import HistorySettings, StoreSettings
from stream_scorer.settings import GroupSettings


class HistoryCommandSettings(GroupSettings, StoreSettings, HistorySettings):
    """Broker, topics, group, artifact store and history."""
