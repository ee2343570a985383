"""``/predict`` continues the caller's trace when tracing is enabled."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from dashboard.app import build_app
from schemas.resolver import LocalSchemas
from stream_scorer.runtime.tracing import Tracing
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    make_desk,
    make_settings,
    make_transaction,
    tiny_bundle,
)
from tests.support.listing.memory_input import MemoryInput

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_only_predict_creates_spans_and_they_belong_to_the_callers_trace(tmp_path: Path) -> None:
    exporter = InMemorySpanExporter()
    tracing = Tracing("dashboard", exporter)
    settings = make_settings(tmp_path)
    app = build_app(
        settings,
        StaticModel(tiny_bundle()),
        MemoryTopic().open,
        LocalSchemas("fraud_score"),
        make_desk(settings),
        MemoryInput().as_inputs(),
        tracing,
    )
    with TestClient(app, "http://127.0.0.1") as client:
        body = {"transactions": [make_transaction(), make_transaction()]}
        headers = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        assert client.post("/predict", json=body, headers=headers).status_code == 200
        assert client.post("/predict", content=b"nonsense").status_code == 422
        assert client.get("/livez").status_code == 200
    tracing.close()
    first, second = exporter.get_finished_spans()
    assert (first.name, second.name) == ("POST /predict",) * 2
    assert first.attributes is not None
    assert second.attributes is not None
    assert first.attributes["fraud_scorer.transactions"] == 2
    assert first.attributes["http.response.status_code"] == 200
    assert second.attributes["http.response.status_code"] == 422
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == SPAN
    assert first.context is not None
    assert f"{first.context.trace_id:032x}" == TRACE
