"""The reference histogram of the loaded model, read from its metadata once."""

from __future__ import annotations

from dashboard.model_status import ModelSource
from stream_scorer.drift.reference import Reference, read_reference
from stream_scorer.model.bundle import Bundle


class References:
    """Used by one thread."""

    def __init__(self, model: ModelSource) -> None:
        self._model = model
        self._bundle: Bundle | None = None
        self._reference = Reference()

    def find(self, version: str) -> Reference | None:
        """The reference of ``version``. None if another version is loaded."""
        bundle = self._model.current
        if bundle is None or bundle.version != version:
            return None
        if bundle is not self._bundle:
            self._bundle, self._reference = bundle, read_reference(bundle.metadata)
        return self._reference
