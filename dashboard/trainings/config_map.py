"""The records of trainings in a ConfigMap of the cluster, changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from dashboard.trainings.kubernetes_api import ApiError, KubernetesApi
from dashboard.trainings.records import Records, read_records, write_records

NAME: Final = "trainings"
"""The manifests create it, so the dashboard only has to get and update it."""

_KEY: Final = "trainings.json"
_CONFLICT: Final = 409
_TRIES: Final = 3


class ConfigMapRecords:
    """The records in one ConfigMap.

    Args:
        api: the API server.
        namespace: of the ConfigMap.
    """

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api = api
        self._path = ("api", "v1", "namespaces", namespace, "configmaps", NAME)

    def read(self) -> Records:
        """The records.

        Raises:
            ApiError: there is no such ConfigMap, or it cannot be read.
        """
        return _records_of(self._api.get(*self._path))

    def change(self, change: Callable[[Records], Records]) -> Records:
        """Change the records; returns what they were. ``change`` may be called again.

        Raises:
            ApiError: as :meth:`read`, or it cannot be written.
        """
        for attempt in range(1, _TRIES + 1):
            found = self._api.get(*self._path)
            before = _records_of(found)
            # The resourceVersion in it makes the API server refuse it if somebody was faster.
            found["data"] = {_KEY: write_records(change(before))}
            try:
                self._api.replace(*self._path, body=found)
            except ApiError as error:
                if error.status != _CONFLICT or attempt == _TRIES:
                    raise
            else:
                return before
        raise AssertionError


def _records_of(config_map: dict[str, Any]) -> Records:
    data = config_map.get("data")
    text = data.get(_KEY) if isinstance(data, dict) else None
    return read_records(text) if isinstance(text, str) else Records()
