"""One session of reading the desk's topics, and whether they are still the same topics. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from dashboard.cases.log import Channel, DeskLog, LogBounds, Positions


class Session:
    """Bounds of the topics, and the check that is in progress, until the next error."""

    def __init__(self, found: LogBounds) -> None:
        self.bounds = found.bounds
        self._topic_ids = found.topic_ids
        self.checking = 0
        self._wanted = 0
        self._begun = 0

    @property
    def is_check_due(self) -> bool:
        """Whether somebody waits for a check that has not begun."""
        return self._wanted > self._begun

    def follow_check(self, wanted: int) -> None:
        """Note the number of the last check that somebody waits for."""
        self._wanted = wanted

    def begin_check(self, bounds: Mapping[tuple[Channel, int], tuple[int, int]]) -> None:
        """New bounds, fetched after the check was asked for."""
        self.bounds = bounds
        self.checking = self._begun = self._wanted

    def is_behind(self, positions: Mapping[tuple[Channel, int], int]) -> bool:
        """Whether records before the last known bounds have not been read."""
        return any(positions.get(place, 0) < high for place, (_, high) in self.bounds.items())

    def is_recreated(self, found: LogBounds, positions: Positions) -> bool:
        """Whether a topic is another one than at the start of the session.

        Without topic ids (brokers before 2.8), a topic that ends before what was read is one.
        """
        ids = found.topic_ids
        if any(self._topic_ids.get(channel, one) != one for channel, one in ids.items()):
            return True
        return any(
            positions.get(place, 0) > high
            for place, (_, high) in found.bounds.items()
            if place[0] not in ids
        )


def origin_of(found: LogBounds, desk_log: DeskLog) -> dict[str, str]:
    """What a cache belongs to: the cluster and the topics, by name and, if it is known, by id."""
    names = {channel.value: desk_log.name_of(channel) for channel in Channel}
    ids = {_id_of(channel): topic_id for channel, topic_id in found.topic_ids.items()}
    return {"cluster": found.cluster, **names, **ids}


def find_recreated(found: LogBounds, before: Mapping[str, str], stored: Positions) -> list[Channel]:
    """The topics that are others than those a cache was filled from.

    Args:
        found: the topics now.
        before: :func:`origin_of` them when the cache was filled; an earlier release knew no ids.
        stored: where the cache would continue.
    """
    ids = found.topic_ids
    recreated = {c for c, one in ids.items() if before.get(_id_of(c), one) != one}
    recreated |= {
        place[0] for place, at in stored.items() if at > found.bounds.get(place, (0, at))[1]
    }
    return sorted(recreated)


def _id_of(channel: Channel) -> str:
    return f"{channel} id"
