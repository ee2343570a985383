"""Traces: spans with links if enabled, nothing otherwise."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from schemas.framing import Headers
from stream_scorer.runtime import tracing
from stream_scorer.runtime.tracing import MAX_LINKS, Tracing, open_tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Traced:
    """Tracing that keeps its spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing("stream-scorer", self._exporter)

    def spans(self) -> list[ReadableSpan]:
        self.tracing.close()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Traced]:
    for name in ("OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    made = Traced()
    yield made
    made.tracing.close()


def parent(number: int) -> Headers:
    return [("traceparent", f"00-{number:032x}-{SPAN}-01".encode())]


def test_batch_is_one_span_with_a_link_to_each_trace(traced: Traced) -> None:
    headers: list[Headers] = [parent(1), None, parent(2), [], parent(1), [("other", b"x")]]
    before = time.time_ns()
    traced.tracing.batch("transactions", headers, 0.5, {"fraud_scorer.model_version": "v3"})
    (span,) = traced.spans()
    assert span.name == "process transactions"
    assert span.kind is SpanKind.CONSUMER
    assert span.parent is None
    assert [link.context.trace_id for link in span.links] == [1, 2]
    assert all(link.context.is_remote for link in span.links)
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 6
    assert span.attributes["fraud_scorer.model_version"] == "v3"
    assert span.resource.attributes["service.name"] == "stream-scorer"
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 500_000_000
    assert before <= span.end_time <= time.time_ns()


def test_links_are_bounded(traced: Traced) -> None:
    traced.tracing.batch("t", [parent(n) for n in range(1, 5 * MAX_LINKS)], 0.1, {})
    (span,) = traced.spans()
    assert len(span.links) == MAX_LINKS
    assert span.dropped_links == 0


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        None,
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
    ],
)
def test_invalid_trace_context_gives_no_link(traced: Traced, value: bytes | None) -> None:
    traced.tracing.batch("t", [[("traceparent", value)]], 0.1, {})
    (span,) = traced.spans()
    assert not span.links


def test_request_continues_its_callers_trace(traced: Traced) -> None:
    facts = {"http.response.status_code": 200}
    traced.tracing.request("POST /predict", f"00-{TRACE}-{SPAN}-01".encode(), 0.01, facts)
    traced.tracing.request("POST /predict", None, 0.01, {"http.response.status_code": 503})
    first, second = traced.spans()
    assert first.kind is SpanKind.SERVER
    assert first.context is not None
    assert f"{first.context.trace_id:032x}" == TRACE
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == SPAN
    assert first.status.status_code is StatusCode.UNSET
    assert second.parent is None
    assert second.status.status_code is StatusCode.ERROR


def test_request_of_a_trace_that_is_not_sampled_is_not_exported(traced: Traced) -> None:
    traced.tracing.request("POST /predict", f"00-{TRACE}-{SPAN}-00".encode(), 0.01, {})
    assert traced.spans() == []


def test_without_an_endpoint_there_is_no_tracing() -> None:
    assert open_tracing("stream-scorer", None) is None
    assert open_tracing("stream-scorer", "") is None


@pytest.mark.parametrize(
    ("process", "unwanted"),
    [
        ("stream_scorer.process.scorer", "opentelemetry"),
        # FastAPI itself imports the API.
        ("dashboard.app", ("opentelemetry.sdk", "opentelemetry.exporter")),
    ],
)
def test_without_an_endpoint_opentelemetry_is_not_imported(
    process: str, unwanted: str | tuple[str, ...]
) -> None:
    code = (
        f"import sys, {process}\n"
        "from stream_scorer.runtime.tracing import open_tracing\n"
        "assert open_tracing('x', None) is None\n"
        f"print([m for m in sys.modules if m.startswith({unwanted!r})])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_endpoint_without_the_extra_logs_one_warning_and_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)
    assert open_tracing("stream-scorer", "http://127.0.0.1:4318") is None
    assert "stream-scorer[tracing]" in caplog.text


class Deaf(InMemorySpanExporter):
    """An exporter whose collector accepts the connection and never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.is_asked = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.is_asked.set()
        self.answers.wait()
        return super().export(spans)


def test_close_does_not_wait_longer_than_its_limit_for_a_collector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "_CLOSE_SECONDS", 0.1)
    exporter = Deaf()
    traces = Tracing("stream-scorer", exporter)
    traces.batch("transactions", [None], 0.1, {})
    traces.close()  # returns although the collector has not answered
    assert exporter.is_asked.wait(60)
    exporter.answers.set()
