"""OpenTelemetry traces, when they are asked for: one span a batch, one a request.

Off unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set; then nothing of OpenTelemetry is imported and
:func:`open_tracing` returns None, so that its callers' whole cost is one comparison a batch. Spans
are made after the fact, from durations that are measured anyway.

A batch's span *links* to the traces of its records (OpenTelemetry, Messaging spans: batch
processing), since a batch of thousands has no one parent. Scores and dead letters carry their
input's ``traceparent`` on unchanged, so a trace goes on downstream whether this is on or off.
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
"""OpenTelemetry's own default limit of links to a span; more would be dropped there."""

_CLOSE_SECONDS: Final = 3.0  # at the end: a collector that is down must not cost the grace period
_TRACEPARENT: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


class Tracing:
    """Makes spans of what has already happened. Safe from any thread."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        # Resource.create adds OTEL_RESOURCE_ATTRIBUTES and lets OTEL_SERVICE_NAME win.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(service)

    def batch(
        self, topic: str, headers: Sequence[Headers], seconds: float, facts: Mapping[str, Any]
    ) -> None:
        """A batch was committed just now, ``seconds`` after it was polled."""
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
        """A request was answered just now, in ``seconds``; it continues its caller's trace."""
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
        """Send what is left, for at most a few seconds."""
        # The exporter has timeouts and retries of its own, which no flush or shutdown cuts short.
        close_within(_CLOSE_SECONDS, self._provider.shutdown, "tracing-close")


def open_tracing(service: str, endpoint: str | None) -> Tracing | None:
    """Tracing to an OTLP endpoint over HTTP, or None where none is named or nothing to do it with.

    Everything else (headers, sampler, resource) is OpenTelemetry's own ``OTEL_`` variables.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log.warning(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but there are no traces without the extra: "
            "pip install 'stream-scorer[tracing]'"
        )
        return None
    log.info("traces go to %s", urlsplit(endpoint).hostname)  # not what else it may hold: secrets
    return Tracing(service, OTLPSpanExporter())


def _links(headers: Iterable[Headers]) -> Iterable[Link]:
    """Links to the first traces among the records' headers, each once."""
    from opentelemetry.trace import Link

    seen: set[bytes] = set()
    for given in headers:
        if not given:  # as with most records; 2,000 of them are some 30 microseconds
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
    """What a ``traceparent`` says (W3C Trace Context, section 3.2); None if it is none."""
    from opentelemetry.trace import SpanContext, TraceFlags

    found = _TRACEPARENT.match(traceparent)
    if found is None or found[1] == b"ff":
        return None
    context = SpanContext(
        int(found[2], 16), int(found[3], 16), is_remote=True,
        trace_flags=TraceFlags(int(found[4], 16)),
    )  # fmt: skip
    return context if context.is_valid else None
