"""The command line of ``stream-scorer``. Each command's module is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import (
    past_time,
    port,
    positive,
    rate,
    whole,
)
from stream_scorer.cli.parsing.dlq_parser import add_dlq
from stream_scorer.cli.parsing.drift_parser import add_drift
from stream_scorer.cli.parsing.history_parser import add_history
from stream_scorer.cli.parsing.labels_parser import add_labels
from stream_scorer.cli.parsing.quality_parser import add_quality
from stream_scorer.cli.parsing.replay_parser import add_replay
from stream_scorer.cli.parsing.subcommands import Parser, add_command, add_group, add_json
from stream_scorer.runtime.version import add_version

RUN: Final = "stream_scorer.cli.run:run"
_GROUP: Final = "stream_scorer.settings:GroupSettings"

_RESCORING: Final = "stream_scorer.settings:RescoringSettings"
_SCORER: Final = "stream_scorer.settings:ScorerSettings"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = Parser(
        prog="stream-scorer",
        description="Exactly-once fraud scores for a stream of card transactions on Apache Kafka.",
        epilog=(
            "stream-scorer COMMAND --help shows the flags and environment variables of a command."
        ),
    )
    add_version(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_processes(commands)
    _add_produce(commands)
    _add_tail(commands)
    _add_verify(commands)
    add_replay(commands)
    add_quality(commands)
    add_drift(commands)
    _add_topics(commands)
    add_dlq(commands)
    add_history(commands)
    add_labels(commands)
    _add_keda_sim(commands)
    return parser


def _add_processes(commands: Any) -> None:
    run = add_command(commands, "run", "runs the scorer", RUN, _SCORER)
    run.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="number of processes (1)"
    )
    run.add_argument(
        "--from-start",
        action="store_true",
        help="where the group has no usable offset (its offsets were lost, or the topic was "
        "recreated or truncated), score everything that the topic still holds",
    )
    broker = add_command(
        commands,
        "broker",
        "runs a local Apache Kafka in the foreground",
        "stream_scorer.cli.run:broker",
    )
    broker.add_argument(
        "--folder", type=Path, help="data folder, kept (default: in the cache folder)"
    )
    broker.add_argument("--port", type=port, default=9092, help="port on 127.0.0.1 (default 9092)")
    demo = add_command(
        commands, "demo", "runs the complete system on this machine", "stream_scorer.cli.run:demo"
    )
    demo.add_argument("--transactions", type=positive, metavar="N", help="stop after N")
    demo.add_argument("--exit", action="store_true", help="then verify, print a summary and exit")
    demo.add_argument(
        "--rate",
        type=rate,
        metavar="R",
        help="transactions per second (default 200; with --loop 1000)",
    )
    demo.add_argument(
        "--port", type=port, default=8000, help="port of the dashboard (default 8000)"
    )
    demo.add_argument(
        "--loop",
        action="store_true",
        help="show how drift leads to a better model: training, challenger, labels, promotion",
    )
    demo.add_argument(
        "--folder", type=Path, metavar="DIR", help="keep all files in DIR, which must be new"
    )
    add_command(
        commands,
        "warm",
        "compiles the kernels before the first start",
        "stream_scorer.cli.warm:run_warm",
    )
    doctor = add_command(
        commands,
        "doctor",
        "checks everything a scorer needs, and advises what to fix",
        "stream_scorer.cli.doctor:run_doctor",
        _SCORER,
    )
    add_json(doctor)


def _add_produce(commands: Any) -> None:
    produce = add_command(
        commands,
        "produce",
        "sends transactions from IEEE-CIS files to the input topic",
        "stream_scorer.cli.produce:run_produce",
        _GROUP,
        "Files are CSV, gzip, zip or Parquet, whatever their names are.\n"
        "The record key is card1 as a decimal integer. A transaction without card1 has no key and\n"
        "can go to any partition. --loop repeats the transactions; each repetition is a new input\n"
        "with an outcome of its own.",
    )
    produce.add_argument("file", type=Path, metavar="FILE.csv", help="transactions to send")
    produce.add_argument(
        "--identity", type=Path, metavar="FILE", help="identities to join, in the same formats"
    )
    produce.add_argument(
        "--format", choices=("avro", "json"), default="avro", help="format of the values (avro)"
    )
    produce.add_argument("--rate", type=rate, metavar="R", help="transactions per second")
    produce.add_argument("--limit", type=positive, metavar="N", help="stop after N")
    produce.add_argument("--loop", action="store_true", help="repeat the file until stopped")
    produce.add_argument("--topic", help="send to this topic instead of INPUT_TOPIC")
    add_json(produce)


def _add_tail(commands: Any) -> None:
    tail = add_command(
        commands,
        "tail",
        "prints scores as they are committed",
        "stream_scorer.cli.tail:run_tail",
        _GROUP,
    )
    tail.add_argument("--flagged", action="store_true", help="print only REVIEW and BLOCK")
    tail.add_argument("--from-beginning", action="store_true", help="also print existing scores")
    tail.add_argument("--limit", type=positive, metavar="N", help="stop after N")
    add_json(tail)


def _add_verify(commands: Any) -> None:
    verify = add_command(
        commands,
        "verify",
        "proves that every input has exactly one outcome",
        "stream_scorer.cli.verify:run_verify",
        _RESCORING,
        "Reads all committed inputs, scores and dead letters that exist now. Exit code 1 if an\n"
        "outcome is missing, duplicated, out of order, without an input, or inconsistent with\n"
        "itself or its input, if inputs were deleted unscored, and if nothing could be judged.\n"
        "With --recompute also if a score differs from the recomputed one, or none could be\n"
        "recomputed. Only --recompute and --check-versions read the artifact store.",
    )
    verify.add_argument(
        "--from-beginning", action="store_true", help="the default without --state and --since"
    )
    verify.add_argument(
        "--state", type=Path, metavar="FILE", help="continue from the last audit that used FILE"
    )
    verify.add_argument(
        "--since",
        type=past_time,
        metavar="TIME",
        help="judge only inputs from this time on: ISO 8601, or an age such as 36h",
    )
    verify.add_argument(
        "--until", type=past_time, metavar="TIME", help="judge only inputs before this time"
    )
    verify.add_argument("--model", metavar="VN", help="list the inputs this version scored")
    verify.add_argument(
        "--committed",
        action="store_true",
        help="judge only inputs that the scorers have committed; use it while they run",
    )
    _add_strictness(verify)
    add_json(verify)


def _add_strictness(verify: argparse.ArgumentParser) -> None:
    """How much of each input is compared, and what is accepted."""
    verify.add_argument(
        "--max-findings",
        "--limit-offenders",
        dest="max_findings",
        type=positive,
        default=20,
        metavar="N",
        help="list at most N faults (20)",
    )
    verify.add_argument(
        "--sample",
        type=whole,
        default=10,
        metavar="N",
        help="compare the content of one input in N with its outcome (10; 1: all, 0: none)",
    )
    verify.add_argument(
        "--recompute",
        type=positive,
        nargs="?",
        const=100,
        metavar="N",
        help="compute one score in N again with its model version, and compare every bit (100; "
        "1: all); reads the models from MODEL_STORE_URI",
    )
    verify.add_argument(
        "--allow-lost",
        type=whole,
        default=0,
        metavar="N",
        help="accept that up to N inputs were deleted before they were scored (0)",
    )
    verify.add_argument(
        "--clock-skew",
        type=rate,
        default=1.0,
        metavar="S",
        help="the producers' clocks may be S seconds ahead of the scorers' (1)",
    )
    verify.add_argument(
        "--check-versions", action="store_true",
        help="also check that each score's model version is in the artifact store",
    )  # fmt: skip
    verify.add_argument(
        "--timeout",
        type=rate,
        default=60.0,
        metavar="S",
        help="give up after S seconds without records (60)",
    )


def _add_topics(commands: Any) -> None:
    topics = add_group(commands, "topics", "creates and lists the topics")
    create = add_command(
        topics,
        "create",
        "creates the missing topics",
        "stream_scorer.cli.topics:run_create",
        _GROUP,
    )
    create.add_argument(
        "--partitions",
        type=positive,
        metavar="N",
        help="partitions of each topic (as the input topic, or 12)",
    )
    create.add_argument(
        "--replication-factor",
        type=positive,
        default=-1,
        metavar="N",
        help="replication factor of each topic (the broker's default)",
    )
    add_json(create)
    listing = add_command(
        topics,
        "list",
        "lists the topics and reports missing or unsuitable ones",
        "stream_scorer.cli.topics:run_list_topics",
        _GROUP,
    )
    add_json(listing)


def _add_keda_sim(commands: Any) -> None:
    sim = add_command(
        commands,
        "keda-sim",
        "simulates the autoscaler under a load, without a cluster",
        "stream_scorer.cli.keda_sim:run_keda_sim",
        None,
        "TRACE is a CSV file (seconds,records_per_second) or one of:\n"
        "burst:base=1000,peak=100000,start=60,seconds=120  steady:rate=10000,seconds=600\n"
        "day:low=1000,high=100000,seconds=86400",
    )
    sim.add_argument("manifest", type=Path, metavar="FILE.yaml", help="file with a ScaledObject")
    sim.add_argument("--trace", required=True, metavar="TRACE", help="the load to simulate")
    sim.add_argument("--name", help="name of the ScaledObject, if FILE.yaml has several")
    for flag, kind, default, text in (
        ("--capacity", rate, 20_000.0, "records per second that one pod processes (20000)"),
        ("--partitions", positive, 12, "partitions of the input topic (12)"),
        ("--pod-start-seconds", rate, 20.0, "time until a new pod processes records (20)"),
        ("--rebalance-seconds", rate, 3.0, "pause of all pods after a change of members (3)"),
        ("--settle-seconds", rate, 1800.0, "time to simulate after the end of the trace (1800)"),
        ("--sync-seconds", rate, 15.0, "interval between two decisions of the HPA (15)"),
        ("--hot-share", rate, None, "share of the records that go to one partition"),
    ):
        sim.add_argument(flag, type=kind, default=default, metavar="N", help=text)
    sim.add_argument(
        "--outage", metavar="BEGIN:SECONDS", help="period during which the lag cannot be read"
    )
    sim.add_argument(
        "--picture", type=Path, metavar="FILE.svg", help="write a chart of lag and replicas"
    )
    add_json(sim)
