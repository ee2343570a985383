"""Builds the dashboard application from its parts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.gzip import GZipMiddleware

from dashboard.cache.flag_table import FlagWriter
from dashboard.cases.desk import Desk
from dashboard.feed.backlog import BacklogWatch
from dashboard.feed.board import Board, FeedState
from dashboard.feed.inputs import Inputs
from dashboard.feed.loop import Feed
from dashboard.feed.reading import FlagReader
from dashboard.feed.source import ScoreSource
from dashboard.history.past import Histories, NoHistories
from dashboard.live.hub import Hub
from dashboard.live.publisher import TickPublisher
from dashboard.masking import FieldMask
from dashboard.memory import return_unused_memory_regularly
from dashboard.metrics import build_metrics
from dashboard.model_status import ModelSource
from dashboard.models.catalog import Catalog
from dashboard.models.last_result import LastResult, open_drift, open_quality
from dashboard.operations.backlog import WatchedBacklog
from dashboard.operations.dead_letters import KafkaDeadLetters
from dashboard.operations.meter import Meter
from dashboard.operations.monitor import Monitor
from dashboard.operations.references import References
from dashboard.settings import DashboardSettings
from dashboard.trainings.opening import open_trainings
from dashboard.trainings.trainings import Trainings
from dashboard.web import api, login, predict, problems
from dashboard.web.admin import (
    audit_page,
    model_api,
    model_page,
    operations,
    probes,
    reference,
    report,
    rethresholding,
)
from dashboard.web.auth import PROBES, AccessMiddleware, build_authenticator
from dashboard.web.body import BodyBudget
from dashboard.web.cases import export, records, routes
from dashboard.web.challenger import routes as challenger_routes
from dashboard.web.detail import pages as detail_pages
from dashboard.web.detail import taking
from dashboard.web.detail.case_text import REASONS
from dashboard.web.drift import routes as drift_routes
from dashboard.web.explaining import check
from dashboard.web.headers import SecurityHeadersMiddleware
from dashboard.web.limits import RateLimiter, ShareMiddleware
from dashboard.web.lookups import raw, related, stats
from dashboard.web.observe import ObservabilityMiddleware
from dashboard.web.parts import Operations, Parts
from dashboard.web.predict_docs import ProblemModel, problem_responses
from dashboard.web.quality import routes as quality_routes
from dashboard.web.queue import page as queue_page
from dashboard.web.queue import work
from dashboard.web.sealing import Sealer, read_shared_key
from dashboard.web.texts import FILTERS, GLYPHS
from dashboard.web.threshold import routes as threshold
from dashboard.web.tokens import WebhookTokens
from dashboard.web.trainings import routes as training_routes
from dashboard.web.trainings.following import follow_trainings
from schemas.resolver import SchemaResolver
from stream_scorer.model.store.objects import Objects
from stream_scorer.model.store.opening import open_quality_objects, open_store
from stream_scorer.model.store.port import ArtifactStore
from stream_scorer.runtime.tracing import Tracing
from stream_scorer.runtime.version import installed_version

_HERE: Final = Path(__file__).parent
_BURST_SECONDS: Final = 2  # a client may use this many seconds of its rate at once
_DESK_CALLS: Final = 40  # actions at the desk at a time; each may wait two seconds for Kafka
_WAITING_THREADS: Final = 8
_RECORD_READS: Final = 2  # the connection reads one record at a time
_STOP_SECONDS: Final = 5.0  # for the feed's thread, which may be waiting for a metadata response


def build_app(
    settings: DashboardSettings,
    model: ModelSource,
    open_source: Callable[[], ScoreSource],
    resolver: SchemaResolver,
    desk: Desk,
    inputs: Inputs,
    tracing: Tracing | None = None,
    histories: Histories | None = None,
    store: ArtifactStore | None = None,
    monitor: Monitor | None = None,
    trainings: Trainings | None = None,
    quality: Objects | None = None,
) -> FastAPI:
    """Build the application. Its feed, its desk and its watch run from startup to shutdown.

    Without ``histories``, ``/predict`` knows nothing of a card's past. ``store``, ``monitor``,
    ``trainings`` and ``quality`` are those of the settings if they are not given.

    Raises:
        SettingsError: the tokens file or the seal key cannot be used.
    """
    board = Board()
    writer = FlagWriter(
        settings.dashboard_state_dir / "flags.sqlite3", settings.dashboard_keep_flags
    )
    topics = (settings.output_topic, settings.input_topic)
    meter = Meter(References(model).find, lambda: board.status.state is FeedState.LIVE)
    reader = FlagReader(topics[0], resolver, topics[1], meter.observe)
    feed = Feed(open_source, topics, writer, reader, board)
    publisher = TickPublisher(board, model, desk)
    hub = Hub(boot=format(time.time_ns() // 1_000_000, "x"), first=publisher.first())
    parts = _build_parts(
        settings,
        writer.path,
        board,
        model,
        histories or NoHistories(model),
        hub,
        Catalog(store or open_store(settings)),
        open_quality(quality or open_quality_objects(settings)),
        _open_operations(settings, meter, monitor, board),
        desk,
        inputs,
        trainings or open_trainings(settings),
    )
    watch = BacklogWatch(inputs.open_source, board)
    app = FastAPI(
        title="Fraud dashboard",
        description="A live list of flagged transactions, and synchronous scoring with the same "
        "code as the stream.",
        version=parts.version,
        docs_url=None,  # these pages load scripts from other sites
        redoc_url=None,
        redirect_slashes=False,  # it would redirect to any host that the Host header names
        lifespan=_run_while_serving(parts, feed, watch, publisher),
    )
    app.state.parts = parts
    _install(app, parts, tracing)
    return app


def _build_parts(
    settings: DashboardSettings,
    table: Path,
    board: Board,
    model: ModelSource,
    histories: Histories,
    hub: Hub,
    catalog: Catalog,
    quality: LastResult[Mapping[str, Any]],
    operations: Operations,
    desk: Desk,
    inputs: Inputs,
    trainings: Trainings,
) -> Parts:
    """What the request handlers share."""
    shared_key = settings.dashboard_seal_key_file
    own_key = settings.dashboard_state_dir / "seal.key"
    sealer = Sealer(read_shared_key(shared_key)) if shared_key else Sealer.from_own_key(own_key)
    rows_per_second = settings.dashboard_predict_rows_per_second
    return Parts(
        settings=settings,
        version=installed_version(),
        table=table,
        board=board,
        model=model,
        histories=histories,
        hub=hub,
        metrics=build_metrics(
            board, model, lambda: len(hub), histories, desk.status, trainings.counts
        ),
        sealer=sealer,
        mask=FieldMask(settings.masked_fields),
        authenticator=build_authenticator(settings, sealer),
        templates=_templates(),
        # Scoring uses the CPU: more concurrent requests than CPUs would only wait longer.
        scoring=CapacityLimiter(os.cpu_count() or 1),
        predict_rate=RateLimiter(rows_per_second, rows_per_second * _BURST_SECONDS),
        action_rate=_per_minute(settings.dashboard_actions_per_minute),
        bodies=BodyBudget(),
        inputs=inputs,
        desk=desk,
        desk_calls=CapacityLimiter(_DESK_CALLS),
        record_reads=CapacityLimiter(_RECORD_READS),
        catalog=catalog,
        quality=quality,
        operations=operations,
        trainings=trainings,
        waiting=CapacityLimiter(_WAITING_THREADS),
    )


def _per_minute(actions: int) -> RateLimiter:
    """A limit that lets a user who was idle for a minute do a minute's actions at once."""
    return RateLimiter(actions / 60, actions)


def _open_operations(
    settings: DashboardSettings, meter: Meter, monitor: Monitor | None, board: Board
) -> Operations:
    drift = open_drift(open_quality_objects(settings))
    return Operations(meter, monitor or _open_monitor(settings, board), drift)


def _open_monitor(settings: DashboardSettings, board: Board) -> Monitor:
    topics = [settings.input_topic, settings.dlq_topic, settings.labels_topic, settings.audit_topic]
    backlog = WatchedBacklog(settings, lambda: board.backlog)
    return Monitor(backlog, KafkaDeadLetters(settings), topics)


def _run_while_serving(
    parts: Parts, feed: Feed, watch: BacklogWatch, publisher: TickPublisher
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The lifespan of the app: its threads, and the task that publishes ticks."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        feed.start()
        parts.operations.monitor.start()
        parts.desk.start()
        watch.start()
        tasks = [
            asyncio.create_task(publisher.run(parts.hub)),
            asyncio.create_task(return_unused_memory_regularly()),
            asyncio.create_task(follow_trainings(parts)),
        ]
        try:
            yield
        finally:
            parts.hub.close()
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            # At once: each may be waiting for a broker that does not answer.
            await asyncio.gather(
                asyncio.to_thread(parts.operations.monitor.stop),
                asyncio.to_thread(feed.stop, _STOP_SECONDS),
                asyncio.to_thread(parts.desk.stop, _STOP_SECONDS),
                asyncio.to_thread(watch.stop, _STOP_SECONDS),
            )
            await asyncio.to_thread(parts.inputs.records.close)

    return lifespan


def _install(app: FastAPI, parts: Parts, tracing: Tracing | None) -> None:
    for module in (
        predict,
        probes,
        routes,
        records,
        export,
        threshold,
        api,
        model_api,
        rethresholding,
        quality_routes,
        challenger_routes,
        raw,
        related,
        stats,
        login,
        queue_page,
        work,
        taking,
        model_page,
        report,
        check,
        operations,
        audit_page,
        reference,
        detail_pages,
        training_routes,
        drift_routes,
    ):
        app.include_router(module.router)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    problems.install(app)
    settings = parts.settings
    # The middleware added last is the outermost.
    app.add_middleware(
        AccessMiddleware,
        authenticator=parts.authenticator,
        webhook=WebhookTokens(settings.training_webhook_token_file),
        local_only=settings.dashboard_auth == "none" and settings.is_loopback,
    )
    app.add_middleware(ShareMiddleware, proxies=settings.proxy_networks, unlimited=PROBES)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)
    app.add_middleware(ObservabilityMiddleware, metrics=parts.metrics, tracing=tracing)
    app.add_middleware(SecurityHeadersMiddleware)
    _describe_problems(app)


def _describe_problems(app: FastAPI) -> None:
    """Add the schema of problems, which the responses refer to, to the OpenAPI document."""
    generate = app.openapi

    def openapi() -> dict[str, object]:
        described = generate()
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        if "ProblemModel" not in schemas:
            schema = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas["ProblemModel"] = schema
            _replace_validation_errors(described)
        return described

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it


def _replace_validation_errors(described: dict[str, Any]) -> None:
    """FastAPI adds its own error to operations with parameters. Ours is a problem."""
    for item in described["paths"].values():
        for operation in item.values():
            found = operation["responses"].get("422", {})
            if "application/json" in found.get("content", {}):
                operation["responses"] |= {
                    str(status): problem
                    for status, problem in problem_responses(
                        s422="a parameter is not valid"
                    ).items()
                }
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)


def _templates() -> Jinja2Templates:
    templates = Jinja2Templates(directory=_HERE / "templates")
    templates.env.filters |= FILTERS
    templates.env.globals |= {"glyphs": GLYPHS, "reason_codes": list(REASONS.items())}
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    return templates
