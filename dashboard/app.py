"""Puts the dashboard together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.middleware.gzip import GZipMiddleware

from dashboard.cache.flag_table import FlagWriter
from dashboard.feed.board import Board
from dashboard.feed.loop import Feed
from dashboard.feed.reading import ScoreReader
from dashboard.feed.source import ScoreSource
from dashboard.live.hub import Hub
from dashboard.live.pulse import Pulse
from dashboard.metrics import build_metrics
from dashboard.model_status import ModelSource
from dashboard.settings import DashboardSettings
from dashboard.web import api, login, pages, predict, probes, problems
from dashboard.web.auth import Gate, build_authenticator
from dashboard.web.body import BodyBudget
from dashboard.web.headers import SecurityHeaders
from dashboard.web.limits import Buckets
from dashboard.web.observe import Observe
from dashboard.web.parts import Parts
from dashboard.web.predict_docs import ProblemModel
from dashboard.web.sealing import Sealer, load_key, read_shared_key
from dashboard.web.texts import FILTERS, GLYPHS
from schemas.resolver import SchemaResolver
from stream_scorer.runtime.tracing import Tracing
from stream_scorer.runtime.version import installed_version

_HERE: Final = Path(__file__).parent
_BURST_SECONDS: Final = 2  # how much of its rate somebody may use at once
_STOP_SECONDS: Final = 5.0  # of the feed's thread: a metadata request may be under way


def build_app(
    settings: DashboardSettings,
    model: ModelSource,
    open_source: Callable[[], ScoreSource],
    resolver: SchemaResolver,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The whole application; its feed runs from startup to shutdown.

    Raises:
        SettingsError: the tokens file or the seal key cannot be used.
    """
    state = settings.dashboard_state_dir
    board = Board()
    writer = FlagWriter(state / "flags.sqlite3", settings.dashboard_keep_flags)
    reader = ScoreReader(settings.output_topic, resolver)
    feed = Feed(open_source, settings.output_topic, writer, reader, board)
    pulse = Pulse(board, model)
    hub = Hub(boot=format(time.time_ns() // 1_000_000, "x"), first=pulse.first())
    shared = settings.dashboard_seal_key_file
    sealer = Sealer(read_shared_key(shared) if shared else load_key(state / "seal.key"))
    parts = Parts(
        settings=settings,
        version=installed_version(),
        table=writer.path,
        board=board,
        model=model,
        hub=hub,
        metrics=build_metrics(board, model, lambda: len(hub)),
        sealer=sealer,
        authenticator=build_authenticator(settings, sealer),
        templates=_templates(),
        # Scoring is CPU work: more of it at once than there are CPUs only adds waiting.
        scoring=CapacityLimiter(os.cpu_count() or 1),
        predict_rate=Buckets(
            settings.dashboard_predict_rows_per_second,
            settings.dashboard_predict_rows_per_second * _BURST_SECONDS,
        ),
        bodies=BodyBudget(),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        feed.start()
        beat = asyncio.create_task(pulse.run(hub))
        try:
            yield
        finally:
            hub.close()
            beat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beat
            await asyncio.to_thread(feed.stop, _STOP_SECONDS)

    app = FastAPI(
        title="Fraud dashboard",
        description="Flagged transactions, live, and synchronous scores by the stream's own code.",
        version=parts.version,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # it would redirect to whatever the Host header says
        lifespan=lifespan,
    )
    app.state.parts = parts
    _install(app, parts, tracing)
    return app


def _install(app: FastAPI, parts: Parts, tracing: Tracing | None) -> None:
    for routes in (predict, probes, api, login, pages):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    problems.install(app)
    settings = parts.settings
    # The last one added is the outermost.
    app.add_middleware(
        Gate,
        authenticator=parts.authenticator,
        local_only=settings.dashboard_auth == "none" and settings.is_loopback,
    )
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=6)
    app.add_middleware(Observe, metrics=parts.metrics, tracing=tracing)
    app.add_middleware(SecurityHeaders)
    _describe_problems(app)


def _describe_problems(app: FastAPI) -> None:
    """Put the problem's schema, which responses refer to, into OpenAPI."""
    plain = app.openapi

    def openapi() -> dict[str, object]:
        described = plain()
        schemas = described.setdefault("components", {}).setdefault("schemas", {})
        if "ProblemModel" not in schemas:
            schema = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= schema.pop("$defs", {})
            schemas["ProblemModel"] = schema
        return described

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _templates() -> Jinja2Templates:
    templates = Jinja2Templates(directory=_HERE / "templates")
    templates.env.filters |= FILTERS
    templates.env.globals["glyphs"] = GLYPHS
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    return templates
