"""A model version as one side of a replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from schemas.batch import HistoryColumns, TransactionBatch
from stream_scorer.model.bundle import Bundle
from stream_scorer.model.isolated import score_isolated
from stream_scorer.model.scoring import path_reasons
from stream_scorer.replay.columns import Scored, Shown, unscored
from stream_scorer.state.eras import spec_id
from stream_scorer.state.history_source import HistorySource, HistoryUnknown
from stream_scorer.state.inputs import InputRows

_FAILED = "the model cannot score it"


class Histories:
    """The features of the past of one batch of inputs, computed once for each history spec."""

    def __init__(self, source: HistorySource, bundles: Sequence[Bundle]) -> None:
        self._source = source
        self._specs = {spec: b for b in bundles if (spec := spec_id(b)) is not None}

    def cut(self, rows: InputRows) -> Iterator[InputRows]:
        """The same inputs in parts, so that each has one history."""
        bundles = self._specs.values()
        return rows.cut({at for b in bundles for at in self._source.changes(b, rows.partition)})

    def attach(self, rows: InputRows) -> dict[str, HistoryColumns | HistoryUnknown]:
        """The features that each spec gives; the states advance."""
        return {spec: self._source.attach(b, rows) for spec, b in self._specs.items()}


class ModelSide:
    """Scores inputs with one model version."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._batch: TransactionBatch | None = None

    def score(
        self, rows: InputRows, histories: dict[str, HistoryColumns | HistoryUnknown]
    ) -> Scored:
        """The scores of inputs.

        Raises:
            ScorerError: the model cannot score, whatever the transaction.
        """
        self._batch, names = rows.batch, (self.bundle.version,)
        if (spec := spec_id(self.bundle)) is not None:
            history = histories[spec]
            if isinstance(history, HistoryUnknown):
                return unscored(len(rows), names)._replace(unscored={history.reason: len(rows)})
            self._batch = rows.batch.with_history(history)
        parts, failed = score_isolated(self._batch, self.bundle)
        found = unscored(len(rows), names)
        for where, scores in parts:
            found.scores[where], found.decisions[where] = scores.scores, scores.decisions
            found.versions[where] = 0
        reason = f"{_FAILED}: {next(iter(failed.values()))}" if failed else ""
        return found._replace(unscored=Counter({reason: len(failed)} if failed else {}))

    def explain(self, row: int) -> Sequence[Shown]:
        """The reasons of a row of the batch that was scored last."""
        if self._batch is None:
            return ()
        one = self._batch.take(np.array([row]))
        return [Shown(*reason) for reason in path_reasons(one, self.bundle, [0]).get(0, ())]
