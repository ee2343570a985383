"""``stream-scorer run``, ``broker`` and ``demo``: the commands that start processes."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Final

from stream_scorer.cli.console import note
from stream_scorer.errors import EXIT_FAILED, ScorerError
from stream_scorer.process.scorer import ScorerProcess
from stream_scorer.runtime.logs import configure_logging, logs_json
from stream_scorer.runtime.settings import LogSettings, load_settings
from stream_scorer.settings import ScorerSettings

log = logging.getLogger(__name__)

SWITCH_SECONDS: Final = 0.0002
"""How long a thread can hold the interpreter while another thread waits for it. With Python's
default of 5 ms the scoring thread waits for the publishing thread after every compiled loop; the
shorter interval raises throughput by a tenth."""


def run_scorer(workers: int = 1, *, is_from_start: bool = False) -> int:
    """The ``run`` command: one scorer in this process, or several in child processes."""
    try:
        settings = load_settings(ScorerSettings)
    except ScorerError as error:
        _configure_json_logging()
        _report(error)
        return EXIT_FAILED
    configure_logging("stream-scorer", settings)
    if workers > 1:
        from stream_scorer.process.workers import run_workers

        arguments = ["--from-start"] if is_from_start else []
        return run_workers(workers, settings.metrics_port, arguments)
    sys.setswitchinterval(SWITCH_SECONDS)
    code = 0
    try:
        process = ScorerProcess(settings, is_from_start=is_from_start)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, process.stop)
        process.run()
    except BaseException as error:
        _report(error)
        code = EXIT_FAILED
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # the reader has closed the pipe
            stream.flush()
    # Skip the interpreter's shutdown: it destroys librdkafka clients while other threads still use
    # them. It was observed to hang, and a supervisor can only replace a process that has exited.
    os._exit(code)


def _configure_json_logging() -> None:
    """Log as JSON if LOG_FORMAT says so, although other settings are invalid."""
    with suppress(ScorerError):
        if (settings := load_settings(LogSettings)).log_format == "json":
            configure_logging("stream-scorer", settings)


def _report(error: BaseException) -> None:
    """Say why the process ends: one JSON line where logs are JSON, plain text on a console."""
    if isinstance(error, ScorerError):
        if logs_json():
            log.critical("%s", error)
        else:
            note(f"stream-scorer: {error}")
    elif logs_json():
        log.critical("unexpected error", exc_info=error)
    else:
        traceback.print_exception(error)


def run(args: argparse.Namespace) -> int:
    """``run``: start the scorer."""
    return run_scorer(args.workers, is_from_start=args.from_start)


def broker(args: argparse.Namespace) -> int:
    """``broker``: start an embedded Apache Kafka."""
    from stream_scorer.local.broker import run_broker

    return run_broker(args.folder, args.port)


def demo(args: argparse.Namespace) -> int:
    """``demo``: start the complete system on this machine."""
    from stream_scorer.local.demo import DEFAULT_RATE, DemoOptions, run_demo

    if args.loop:
        from stream_scorer.local.loop.story import RATE, ROWS, LoopOptions, run_loop

        rows, rate = args.transactions or ROWS, args.rate or RATE
        return run_loop(LoopOptions(rows, args.exit, rate, args.port, args.folder))
    rate = args.rate or DEFAULT_RATE
    return run_demo(DemoOptions(args.transactions, args.exit, rate, args.port, args.folder))
