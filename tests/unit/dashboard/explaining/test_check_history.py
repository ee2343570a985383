"""The check page with a model that reads the history of cards: what is held fixed, and said."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from dashboard.explaining.changes import find_changes
from dashboard.history.past import Past, used_note
from schemas.batch import HistoryColumns, TransactionBatch, build_batch
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.model.bundle import Thresholds
from stream_scorer.model.scoring import Decision, attribute, score
from tests.support.dashboard_kit import StaticModel, make_app
from tests.support.history.scored_stream import NOW, history_bundle, make_rows
from tests.support.history.scripted_histories import LOADED, ScriptedHistories

FLAGS_ALL = Thresholds(0.0, 2.0)


class BusyCards(ScriptedHistories):
    """Every card was used a lot."""

    def read(self, batch: TransactionBatch, spec: HistorySpec) -> Past:
        values = np.full((len(batch), len(spec.names)), 9.0)
        columns = HistoryColumns(spec.fingerprint, values)
        return Past(columns, [used_note(NOW, 7, 123)] * len(batch))


def test_history_is_held_and_the_inputs_behind_the_other_pushes_are_tried() -> None:
    bundle = replace(history_bundle(), thresholds=FLAGS_ALL)
    spec = bundle.features.program.history
    assert spec is not None
    rows = build_batch(make_rows(1))
    batch = rows.with_history(BusyCards(LOADED).read(rows, spec).columns)
    pushes = attribute(batch, bundle, score(batch, bundle).raw, bundle.predictor)[0].contributions
    found = find_changes(batch, bundle, Decision.REVIEW, pushes)
    raising = [reason.feature for reason in pushes if reason.contribution > 0]
    assert found.held == tuple(feature for feature in raising if feature in spec.names)
    assert found.held
    assert not {field.column for field in found.fields} & set(spec.names)


def test_page_says_which_history_was_used_and_what_is_held_fixed(tmp_path: Path) -> None:
    bundle = replace(history_bundle(), thresholds=FLAGS_ALL)
    app = make_app(tmp_path, model=StaticModel(bundle), histories=BusyCards(LOADED))
    with TestClient(app, "http://127.0.0.1") as client:
        answer = client.post("/check", data={"TransactionAmt": "50", "card1": "1001"}).text
        metrics = client.get("/metrics").text
    page = html.unescape(answer)
    assert "Scored with the history of the card as of 2026-01-31 12:00:00 UTC." in page
    assert "Features of the card's history are held fixed: " in page
    assert "(client history)" in page
    assert 'fraud_scorer_history_predictions_total{used="true"} 1.0' in metrics


def test_reason_why_a_history_was_not_used_is_escaped(tmp_path: Path) -> None:
    app = make_app(
        tmp_path, model=StaticModel(history_bundle()), histories=ScriptedHistories(LOADED)
    )
    with TestClient(app, "http://127.0.0.1") as client:
        page = client.post("/check", data={"TransactionAmt": "50"}).text
    assert "The history of the card was not used: &lt;b&gt;why&lt;/b&gt;" in page
