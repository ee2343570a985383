"""``/predict`` continues the caller's trace, and a client that leaves is no error."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.types import Message

from dashboard.app import build_app
from schemas.resolver import LocalSchemas
from stream_scorer.runtime.tracing import Tracing
from tests.support.dashboard_kit import (
    MemoryTopic,
    StaticModel,
    make_app,
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


def test_client_that_leaves_while_it_sends_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(tmp_path, model=StaticModel(tiny_bundle()))
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"100")],
        "client": ("127.0.0.1", 5000),
    }
    with caplog.at_level(logging.INFO):
        asyncio.run(app(scope, receive, send))
    assert sent == []
    assert [record.getMessage() for record in caplog.records] == ["POST /predict 499"]
