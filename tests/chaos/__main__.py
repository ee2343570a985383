"""``make chaos``: the long fault campaign, its negative control, a summary and a plot.

Campaigns take as long as their faults, so more transactions only mean a higher rate. The summary is
printed as JSON, and written as JSON and as text.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stream_scorer.local.broker import EmbeddedBroker
from tests.chaos.campaign import Campaign, Result
from tests.chaos.faults import Fault
from tests.chaos.history.proof import HistoryProof, prove
from tests.chaos.history.stream import HistoryStream, make_stream
from tests.chaos.picture import Panel, Span, draw
from tests.chaos.plan import MEMBERS, make_plan, planned_seconds
from tests.chaos.summary import CONTROL, PROTOCOLS, STOPPED, as_text, summary
from tests.chaos.topic_faults import Missing
from tests.chaos.watch import Progress
from tests.chaos.world import BROKER, PARTITIONS, Setup, make_world

CONTROL_KILLS = 10
CONTROL_RATE = 600.0  # records a second


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--transactions", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument(
        "--rounds",
        type=int,
        help="how often each other fault is repeated (default: every 50 kills)",
    )
    parser.add_argument("--batch", type=int, default=500, help="largest batch of a scorer")
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="no further fault after this time of a campaign",
    )
    parser.add_argument("--protocol", choices=["classic", "consumer", "both"], default="both")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--features", metavar="NAME",
                        help="a built-in program with card history, such as history/1: every score "
                        "is compared with one pass over the inputs, and with the trainer's "
                        "features")  # fmt: skip
    parser.add_argument("--control", action=argparse.BooleanOptionalAction, default=True,
                        help="also run without exactly-once; must fail")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(".cache/chaos"),
                        help="folder for the plots and the JSON report")  # fmt: skip
    return parser.parse_args(argv)


def run(
    setup: Setup,
    plan: list[Fault],
    say: Callable[[str], None],
    logs: Path,
    limit_seconds: float = math.inf,
) -> tuple[Result, HistoryProof | None]:
    """Run one campaign on its own broker; the scorers' logs are kept in the folder ``logs``."""
    has_history = setup.history is not None
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (
            EmbeddedBroker(folder / "kafka", properties=BROKER) as broker,
            make_world(setup, folder, broker) as world,
        ):
            try:
                expected = partial(planned_seconds, with_history=has_history)
                result = Campaign(
                    world, plan, MEMBERS, Missing(), say, expected, limit_seconds
                ).run()
                return result, prove(world, result) if has_history else None
            finally:
                _keep_logs(folder, logs)


def _keep_logs(folder: Path, logs: Path) -> None:
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    for log in folder.glob("scorer-*.log"):
        shutil.copy(log, logs)


def picture(title: str, result: Result) -> str:
    """Faults, throughput and lag over time, as an SVG."""
    begun = result.begun
    spans = [Span(e.name, e.begun - begun, e.ended - begun) for e in result.events]
    lag = [(s.at - begun, float(s.lag)) for s in result.samples]
    return draw(
        title,
        spans,
        [
            Panel("Transactions committed a second", {"": throughput(result.samples, begun)}),
            Panel("Transactions without an outcome yet", {"": lag}),
        ],
    )


def throughput(
    samples: list[Progress] | Any, begun: float, window: int = 4
) -> list[tuple[float, float]]:
    """Committed records a second between samples ``window`` apart."""
    return [
        (after.at - begun, (after.committed - before.committed) / (after.at - before.at))
        for before, after in zip(samples, samples[window:], strict=False)
    ]


def progress_printer(name: str) -> Callable[[str], None]:
    begun = time.monotonic()

    def say(line: str) -> None:
        sys.stderr.write(f"{name} {time.monotonic() - begun:6.0f} s  {line}\n")

    return say


def _make_history(args: argparse.Namespace) -> HistoryStream | None:
    if args.features is None:
        return None
    from tests.support.history.models import load_history_program

    program = load_history_program(args.features)
    if program.history is None:
        raise SystemExit(f"--features {args.features}: this program has no card history")
    return make_stream(args.transactions, PARTITIONS, program, seed=args.seed, has_seed=True)


def _plan(args: argparse.Namespace) -> list[Fault]:
    """A new plan each time: faults keep what they have done."""
    with_history = args.features is not None
    return make_plan(args.kills, args.seed, with_history=with_history, rounds=args.rounds)


def _run_one(setup: Setup, args: argparse.Namespace, found: dict[str, Any]) -> bool:
    """Run one campaign and add its figures; whether nothing was wrong."""
    name = setup.protocol
    try:
        result, proof = run(
            setup, _plan(args), progress_printer(name), args.out / name, args.minutes * 60
        )
    except AssertionError as error:  # the others run all the same
        found[name] = {"verified": False, STOPPED: str(error)}
        return False
    found[name] = summary(result, proof)
    title = f"{args.transactions:,} transactions, {args.kills} kills, {name} protocol"
    (args.out / f"chaos-{name}.svg").write_text(picture(title, result))
    return result.verified and not result.tracebacks and (proof is None or not proof.faults)


def _run_control(args: argparse.Namespace, protocol: str, found: dict[str, Any]) -> bool:
    """Run without exactly once; whether the audit found it."""
    kills = min(CONTROL_KILLS, args.kills)
    plan = make_plan(kills, args.seed)
    total = int(CONTROL_RATE * planned_seconds(plan))
    setup = Setup(
        total, CONTROL_RATE, protocol, args.seed, is_exactly_once=False, is_s3=True,
        batch_records=500,
    )  # fmt: skip
    try:
        result, _ = run(setup, plan, progress_printer("control"), args.out / "control")
    except AssertionError as error:
        found[CONTROL] = {"verified": False, STOPPED: str(error)}
        return False
    found[CONTROL] = summary(result)
    return not result.verified


def _compile_kernels() -> None:
    """Otherwise the first scorers compile them, which takes longer than a start may take."""
    subprocess.run([sys.executable, "-m", "stream_scorer", "warm"], check=True, stdout=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 only when every campaign verified and every control did not."""
    args = parse(argv)
    # The campaign's own clients lose their broker too, and log it many times per second.
    for name in ("librdkafka", "stream_scorer.kafka.errors"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    args.out.mkdir(parents=True, exist_ok=True)
    _compile_kernels()
    protocols = list(PROTOCOLS) if args.protocol == "both" else [args.protocol]
    found: dict[str, Any] = {}
    is_good = True
    history = _make_history(args)
    seconds = min(planned_seconds(_plan(args), with_history=history is not None), args.minutes * 60)
    for protocol in protocols:
        setup = Setup(
            args.transactions, args.transactions / seconds, protocol, args.seed, is_s3=True,
            batch_records=args.batch, history=history,
        )  # fmt: skip
        is_good &= _run_one(setup, args, found)
    if args.control:
        is_good &= _run_control(args, protocols[0], found)
    found["passed"] = is_good
    text = json.dumps(found, indent=2)
    (args.out / "chaos.json").write_text(text + "\n")
    (args.out / "chaos.txt").write_text(as_text(found))
    sys.stderr.write(as_text(found))
    print(text)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
