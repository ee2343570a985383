"""Finds out whether the serving version was promoted by force, or against its gate."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from stream_scorer.errors import StoreError
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.serving.status import PromotionNote
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.model.store.promotions import Promotion
from stream_scorer.model.store.succession import gate_refusals

log = logging.getLogger(__name__)


class PromotionNotes:
    """Reads a version's promotion from the store once, and again when a rejection changes.

    A rejection changes when an operator promotes a rejected version by force. The pointer may stay
    the same then.
    """

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._read_for: tuple[str, tuple[str, ...]] | None = None
        self._promotion: Promotion | None = None
        self._logged: PromotionNote | None = None

    def find(self, bundle: Bundle | None, rejected: Iterable[str]) -> PromotionNote | None:
        """What to show about the version; None if it passed its gate and was not forced.

        If the store does not answer, the promotion is left out until it does.
        """
        if bundle is None:
            return None
        key = (bundle.version, tuple(sorted(rejected)))
        if key != self._read_for:
            try:
                self._promotion, self._read_for = self._store.last_promotion(bundle.version), key
            except StoreError as error:
                log.debug("cannot read how %s was promoted: %s", bundle.version, error)
                self._promotion = None
        refusals = gate_refusals(bundle.metadata)
        found = self._promotion
        if found is not None and found.is_forced:
            note: PromotionNote | None = PromotionNote(
                bundle.version, refusals, found.by, found.reason, found.at
            )
        else:
            note = PromotionNote(bundle.version, refusals) if refusals else None
        if note is not None and note != self._logged:
            log.warning("%s", note.describe(), extra={"model_version": note.version})
            self._logged = note
        return note
