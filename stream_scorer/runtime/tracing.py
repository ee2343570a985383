"""OpenTelemetry traces, if enabled: one span per batch, one per request.

Tracing is off unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set. When it is off, OpenTelemetry is not
imported and :func:`open_tracing` returns None, so callers pay one comparison per batch. Spans are
created afterwards, from durations that are measured anyway.

A batch's span *links* to the traces of its records (OpenTelemetry, Messaging spans: batch
processing), since a batch of thousands has no single parent. Scores and dead letters carry their
input's ``traceparent`` unchanged, so a trace continues downstream whether tracing is on or off.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from schemas.framing import Headers
from stream_scorer.runtime.stopping import close_within

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Link

log = logging.getLogger(__name__)

MAX_LINKS: Final = 128
"""OpenTelemetry's default limit of links per span; it drops more."""

_CLOSE_SECONDS: Final = 3.0  # a collector that is down must not use up the grace period
_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Tracing:
    """Creates spans for work that is already done. Safe from any thread."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # Resource.create adds OTEL_RESOURCE_ATTRIBUTES; OTEL_SERVICE_NAME takes precedence.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(service)

    def batch(
        self, topic: str, headers: Sequence[Headers], seconds: float, facts: Mapping[str, Any]
    ) -> None:
        """Record a batch that was committed now, ``seconds`` after it was polled."""
        from opentelemetry.trace import SpanKind

        ended = time.time_ns()
        span = self._tracer.start_span(
            f"process {topic}",
            kind=SpanKind.CONSUMER,
            links=list(_links(headers)),
            start_time=ended - int(seconds * 1e9),
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.batch.message_count": len(headers),
                **facts,
            },
        )
        span.end(ended)

    def request(
        self, name: str, traceparent: bytes | None, seconds: float, facts: Mapping[str, Any]
    ) -> None:
        """Record a request answered now, after ``seconds``; continues the caller's trace."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        ended = time.time_ns()
        span = self._tracer.start_span(
            name,
            context=_parent(traceparent),
            kind=SpanKind.SERVER,
            start_time=ended - int(seconds * 1e9),
            attributes=dict(facts),
        )
        if int(facts.get("http.response.status_code", 0)) >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(ended)

    def close(self) -> None:
        """Send the remaining spans, for at most a few seconds."""
        # The exporter has its own timeouts and retries, which flush and shutdown do not cut short.
        close_within(_CLOSE_SECONDS, self._provider.shutdown, "tracing-close")


def open_tracing(service: str, endpoint: str | None) -> Tracing | None:
    """Tracing to an OTLP endpoint over HTTP; None without an endpoint or without OpenTelemetry.

    OpenTelemetry reads all other options (headers, sampler, resource) from ``OTEL_`` variables.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed, so no traces "
            "are sent: pip install 'stream-scorer[tracing]'"
        )
        return None
    log.info("sending traces to %s", urlsplit(endpoint).hostname)  # the rest may contain secrets
    return Tracing(service, OTLPSpanExporter())


def _links(headers: Iterable[Headers]) -> Iterable[Link]:
    """Links to the first distinct traces in the records' headers."""
    from opentelemetry.trace import Link

    seen: set[bytes] = set()
    for given in headers:
        if not given:  # as most records; 2,000 of them take about 30 microseconds
            continue
        value = next((v for name, v in given if name == "traceparent"), None)
        if not isinstance(value, bytes) or value in seen:
            continue
        if (context := _span_context(value)) is not None:
            seen.add(value)
            yield Link(context)
            if len(seen) == MAX_LINKS:
                return


def _parent(traceparent: bytes | None) -> Context | None:
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    context = _span_context(traceparent) if traceparent else None
    return None if context is None else set_span_in_context(NonRecordingSpan(context))


def _span_context(traceparent: bytes) -> Any:
    """The span context in a ``traceparent`` (W3C Trace Context, section 3.2); None if invalid."""
    from opentelemetry.trace import SpanContext, TraceFlags

    found = _TRACEPARENT.match(traceparent)
    if found is None or found[1] == b"ff":
        return None
    context = SpanContext(
        int(found[2], 16), int(found[3], 16), is_remote=True,
        trace_flags=TraceFlags(int(found[4], 16)),
    )  # fmt: skip
    return context if context.is_valid else None
