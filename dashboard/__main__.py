"""``fraud-dashboard``: runs the dashboard and ``POST /predict``, and creates tokens."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dashboard.settings import DashboardSettings
    from stream_scorer.model.serving.watcher import ModelWatcher
    from stream_scorer.model.store.port import ArtifactStore

log = logging.getLogger("dashboard")

_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells report it


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 interrupted.

    A server that runs ends with 0 on Ctrl-C.
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    # Imported here, so that Ctrl-C while they load prints no traceback.
    from stream_scorer.errors import ScorerError
    from stream_scorer.runtime.text import printable_lines

    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "token":
            return _print_token(arguments.name, arguments.role)
        return _serve(arguments)
    except ScorerError as error:
        print(f"fraud-dashboard: {printable_lines(str(error))}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    from dashboard.settings import DashboardSettings
    from dashboard.web.tokens import ROLES, WEBHOOK
    from stream_scorer.runtime.settings import describe_settings
    from stream_scorer.runtime.version import add_version

    parser = argparse.ArgumentParser(
        prog="fraud-dashboard",
        description="Serves a live list of flagged transactions, and POST /predict.",
        epilog=describe_settings(DashboardSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_version(parser)
    parser.add_argument("--host", help="address to listen on (DASHBOARD_HOST)")
    parser.add_argument("--port", type=int, help="port to listen on (DASHBOARD_PORT)")
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=None,
        help="allow DASHBOARD_AUTH=none on an address that other machines can reach",
    )
    commands = parser.add_subparsers(dest="command", metavar="")
    token = commands.add_parser(
        "token", help="create a token: prints it, and its line for DASHBOARD_TOKENS_FILE"
    )
    token.add_argument("name", help="the user who gets the token")
    token.add_argument(
        "--role",
        choices=(*ROLES, WEBHOOK),
        default="analyst",
        help=f"default: analyst; {WEBHOOK}: a line for TRAINING_WEBHOOK_TOKEN_FILE",
    )
    return parser


def _print_token(name: str, role: str) -> int:
    """Print the line on standard output, for ``>> tokens``, and the token on standard error."""
    from dashboard.web.tokens import make_token

    token, line = make_token(name, role)
    print(f"token for {name} (it cannot be shown again): {token}", file=sys.stderr)
    print(line)
    return 0


def _build_watcher(store: ArtifactStore, settings: DashboardSettings) -> ModelWatcher:
    from stream_scorer.model.serving.cache import BundleCache
    from stream_scorer.model.serving.options import WatcherOptions
    from stream_scorer.model.serving.watcher import ModelWatcher
    from stream_scorer.model.signing import parse_trusted_keys

    return ModelWatcher(
        store,
        BundleCache(settings.model_cache_dir),
        WatcherOptions(
            parse_trusted_keys(settings.model_trusted_keys), settings.model_poll_seconds
        ),
    )


def _load_settings(arguments: argparse.Namespace) -> DashboardSettings:
    from dashboard.settings import DashboardSettings
    from stream_scorer.runtime.settings import load_settings

    return load_settings(
        DashboardSettings,
        {
            "dashboard_host": arguments.host,
            "dashboard_port": arguments.port,
            "dashboard_insecure": arguments.insecure,
        },
    )


def _serve(arguments: argparse.Namespace) -> int:
    from dashboard.memory import limit_arenas
    from stream_scorer.runtime.logs import configure_logging

    settings = _load_settings(arguments)
    configure_logging("dashboard", settings)
    limit_arenas()
    # Numba looks for the linear algebra of SciPy, which no kernel of this process uses: 14 MB.
    sys.modules["scipy.linalg.cython_blas"] = None  # type: ignore[assignment]
    # Imported late: --help and a settings error need none of these.
    from dashboard.app import build_app
    from dashboard.cases.opening import opened_desk
    from dashboard.feed.inputs import kafka_inputs
    from dashboard.feed.source import KafkaScores
    from dashboard.history.opening import opened_histories
    from dashboard.server import Server, address_of, listen, lock_state_dir
    from stream_scorer.model.store.opening import open_store
    from stream_scorer.runtime.registry import using_resolver
    from stream_scorer.runtime.tracing import open_tracing

    store = open_store(settings)
    watcher = _build_watcher(store, settings)
    tracing = open_tracing("dashboard", settings.otel_exporter_otlp_endpoint)
    with (
        lock_state_dir(settings.dashboard_state_dir) as lock,
        using_resolver(settings, "fraud_score") as resolver,
        using_resolver(settings) as input_resolver,
        opened_histories(settings, watcher) as histories,
        opened_desk(settings) as desk,
        listen(settings.dashboard_host, settings.dashboard_port) as listener,
    ):
        app = build_app(
            settings,
            watcher,
            lambda: KafkaScores(settings, settings.output_topic),
            resolver,
            desk,
            kafka_inputs(settings, input_resolver),
            tracing,
            histories,
            store,
        )
        server = Server(app, app.state.parts.hub.close, lock)
        watcher.start()
        log.info("dashboard on %s", address_of(listener))
        try:
            server.run(sockets=[listener])
        finally:
            watcher.stop()
            if tracing is not None:
                tracing.close()
    if server.problem is not None:
        raise server.problem
    # uvicorn does not raise when startup fails.
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
