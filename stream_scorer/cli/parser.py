"""The command line of ``stream-scorer``. Each command's module is imported when it runs."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any, Final

from stream_scorer.cli.arguments import (
    coordinates,
    past_time,
    port,
    positive,
    rate,
    whole,
)
from stream_scorer.runtime.version import add_version

RUN: Final = "stream_scorer.cli.run:run"
_GROUP: Final = "stream_scorer.settings:GroupSettings"

_SCORER: Final = "stream_scorer.settings:ScorerSettings"

STAGES: Final = ("framing", "schema", "decode", "validate", "score", "publish")
"""As :class:`schemas.rejections.Stage`, which is not imported for ``--help`` alone."""


class _Parser(argparse.ArgumentParser):
    """Ends its help with the environment variables of ``settings``, read only then."""

    def __init__(self, *args: Any, settings: str | None = None, **kwargs: Any) -> None:
        kwargs["formatter_class"] = argparse.RawDescriptionHelpFormatter
        super().__init__(*args, **kwargs)
        self._settings = settings

    def format_help(self) -> str:
        if self._settings is None:
            return super().format_help()
        from stream_scorer.runtime.settings import describe_settings

        return f"{super().format_help()}\n{describe_settings(load_object(self._settings))}\n"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="stream-scorer",
        description="Exactly-once fraud scores for a stream of card transactions on Apache Kafka.",
        epilog="stream-scorer COMMAND --help tells a command's flags and environment variables.",
    )
    add_version(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_processes(commands)
    _add_produce(commands)
    _add_readers(commands)
    _add_topics(commands)
    _add_dlq(commands)
    _add_keda_sim(commands)
    return parser


def _add_processes(commands: Any) -> None:
    run = _command(commands, "run", "the scorer process", RUN, _SCORER)
    run.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="processes on this machine"
    )
    broker = _command(
        commands,
        "broker",
        "an Apache Kafka of your own, in the foreground",
        "stream_scorer.cli.run:broker",
    )
    broker.add_argument("--folder", type=Path, help="its data, kept (default: in the cache folder)")
    broker.add_argument("--port", type=port, default=9092, help="port on 127.0.0.1 (default 9092)")
    demo = _command(
        commands, "demo", "the whole system on this machine", "stream_scorer.cli.run:demo"
    )
    demo.add_argument("--transactions", type=positive, metavar="N", help="stop after N")
    demo.add_argument("--exit", action="store_true", help="verify, print a summary and end then")
    demo.add_argument(
        "--rate", type=rate, default=200.0, metavar="R", help="transactions a second (default 200)"
    )
    demo.add_argument(
        "--port", type=port, default=8000, help="port of the dashboard (default 8000)"
    )
    _command(
        commands,
        "warm",
        "compiles the kernels ahead of the first start",
        "stream_scorer.cli.warm:run_warm",
    )
    doctor = _command(
        commands,
        "doctor",
        "checks what a scorer needs, and says what to do",
        "stream_scorer.cli.doctor:run_doctor",
        _SCORER,
    )
    _json(doctor)


def _add_produce(commands: Any) -> None:
    produce = _command(
        commands,
        "produce",
        "sends transactions from IEEE-CIS CSVs to the input topic",
        "stream_scorer.cli.produce:run_produce",
        _GROUP,
        "The record key is card1 as a decimal integer; a transaction without card1 has no key and\n"
        "goes to any partition. With --loop the same transactions come again: each is a new input\n"
        "and gets an outcome of its own.",
    )
    produce.add_argument("file", type=Path, metavar="FILE.csv", help="transactions")
    produce.add_argument("--identity", type=Path, metavar="FILE", help="identities to join")
    produce.add_argument("--format", choices=("avro", "json"), default="avro")
    produce.add_argument("--rate", type=rate, metavar="R", help="transactions a second")
    produce.add_argument("--limit", type=positive, metavar="N", help="stop after N")
    produce.add_argument("--loop", action="store_true", help="start over at the end, for ever")
    produce.add_argument("--topic", help="instead of INPUT_TOPIC")
    _json(produce)


def _add_readers(commands: Any) -> None:
    tail = _command(
        commands,
        "tail",
        "prints scores as they are committed",
        "stream_scorer.cli.tail:run_tail",
        _GROUP,
    )
    tail.add_argument("--flagged", action="store_true", help="only REVIEW and BLOCK")
    tail.add_argument("--from-beginning", action="store_true", help="also those that are there")
    tail.add_argument("--limit", type=positive, metavar="N", help="stop after N")
    _json(tail)
    verify = _command(
        commands,
        "verify",
        "proves that every input has exactly one outcome",
        "stream_scorer.cli.verify:run_verify",
        _GROUP,
        "Reads input, scores and dead letters from the beginning to where they are now, as\n"
        "committed. Exit code 1 when an outcome is missing, double, out of order, nobody's or at\n"
        "odds with itself or its input, and when there are inputs but none could be judged.",
    )
    verify.add_argument(
        "--from-beginning", action="store_true", help="the default without --state and --since"
    )
    verify.add_argument(
        "--state", type=Path, metavar="FILE", help="go on where the last audit with it stopped"
    )
    verify.add_argument(
        "--since",
        type=past_time,
        metavar="TIME",
        help="only inputs from then on: ISO 8601, or 36h ago",
    )
    verify.add_argument("--until", type=past_time, metavar="TIME", help="only inputs before then")
    verify.add_argument("--model", metavar="VN", help="list the inputs this version scored")
    verify.add_argument(
        "--committed",
        action="store_true",
        help="only inputs the scorers have committed; for while they run",
    )
    verify.add_argument(
        "--max-findings",
        "--limit-offenders",
        dest="max_findings",
        type=positive,
        default=20,
        metavar="N",
        help="name so many offenders (20)",
    )
    verify.add_argument(
        "--sample",
        type=whole,
        default=10,
        metavar="N",
        help="compare the transaction of one input in N with its score's (10); 1: all, 0: none",
    )
    verify.add_argument(
        "--timeout", type=rate, default=60.0, metavar="S", help="give up after S idle seconds (60)"
    )
    _json(verify)


def _add_topics(commands: Any) -> None:
    topics = _group(commands, "topics", "makes and lists the topics")
    create = _command(
        topics,
        "create",
        "makes the topics that are missing",
        "stream_scorer.cli.topics:run_create",
        _GROUP,
    )
    create.add_argument(
        "--partitions", type=positive, metavar="N", help="of each (12, or as the input has)"
    )
    create.add_argument(
        "--replication-factor",
        type=positive,
        default=-1,
        metavar="N",
        help="of each (the broker's default)",
    )
    _json(create)
    listing = _command(
        topics,
        "list",
        "tells whether the topics are there and fit",
        "stream_scorer.cli.topics:run_list",
        _GROUP,
    )
    _json(listing)


def _add_dlq(commands: Any) -> None:
    dlq = _group(commands, "dlq", "works the dead letters")
    listing = _command(
        dlq, "list", "counts and lists dead letters", "stream_scorer.cli.dlq:run_list", _GROUP
    )
    _selection(listing)
    listing.add_argument(
        "--limit", type=positive, default=20, metavar="N", help="list the newest N (20)"
    )
    _json(listing)
    show = _command(dlq, "show", "shows one dead letter", "stream_scorer.cli.dlq:run_show", _GROUP)
    show.add_argument(
        "place", type=coordinates, metavar="PARTITION-OFFSET", help="as dlq list gives it"
    )
    _json(show)
    redrive = _command(
        dlq,
        "redrive",
        "sends dead letters back to the input",
        "stream_scorer.cli.dlq:run_redrive",
        _GROUP,
        "Each dead letter is redriven at most once, however often and wherever this is run: the\n"
        "progress is committed with the records, in the group KAFKA_GROUP_ID-redrive. What a\n"
        "filter leaves out can be redriven later. Kafka forgets the progress when this is not run\n"
        "for offsets.retention.minutes (a week); then what is too old to tell whether it was\n"
        "redriven before is left, unless --again is given.",
    )
    _selection(redrive)
    redrive.add_argument("--dry-run", action="store_true", help="only say what would be done")
    redrive.add_argument(
        "--again",
        action="store_true",
        help="also those too old to tell whether they were redriven before",
    )
    _json(redrive)
    allow = _command(
        dlq,
        "allow",
        "lets scorers go on after a stop for too many rejections",
        "stream_scorer.cli.dlq:run_allow",
        _GROUP,
        "Scorers stop at REJECTION_MAX_RUN and REJECTION_MAX_SHARE, and a restart stops there\n"
        "again. This begins the counts anew and has each scorer that starts from now on put N\n"
        "rejections into the dead letters before it counts; once. 0 only begins the counts anew.",
    )
    allow.add_argument("rejections", type=whole, metavar="N", help="so many are let through")
    _json(allow)


def _add_keda_sim(commands: Any) -> None:
    sim = _command(
        commands,
        "keda-sim",
        "simulates the autoscaler on a trace of load, without a cluster",
        "stream_scorer.cli.keda_sim:run_keda_sim",
        None,
        "TRACE is a CSV file (seconds,records_per_second) or one of\n"
        "burst:base=1000,peak=100000,start=60,seconds=120  steady:rate=10000,seconds=600\n"
        "day:low=1000,high=100000,seconds=86400",
    )
    sim.add_argument("manifest", type=Path, metavar="FILE.yaml", help="with one ScaledObject")
    sim.add_argument("--trace", required=True, metavar="TRACE", help="the load")
    sim.add_argument("--name", help="of the ScaledObject, where FILE.yaml has several")
    for flag, kind, default, text in (
        ("--capacity", rate, 20_000.0, "records a second of one pod (20000)"),
        ("--partitions", positive, 12, "of the input topic (12)"),
        ("--pod-start-seconds", rate, 20.0, "until a new pod works (20)"),
        ("--rebalance-seconds", rate, 3.0, "without work after pods come or go (3)"),
        ("--settle-seconds", rate, 1800.0, "to go on after the trace's end (1800)"),
        ("--sync-seconds", rate, 15.0, "between two decisions of the HPA (15)"),
        ("--hot-share", rate, None, "share of the records that one partition gets"),
    ):
        sim.add_argument(flag, type=kind, default=default, metavar="N", help=text)
    sim.add_argument("--outage", metavar="BEGIN:SECONDS", help="when lag cannot be read")
    sim.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw lag and replicas")
    _json(sim)


def _command(
    commands: Any,
    name: str,
    summary: str,
    handler: str,
    settings: str | None = None,
    more: str = "",
) -> argparse.ArgumentParser:
    description = summary[0].upper() + summary[1:] + "."
    if more:
        description += "\n\n" + more
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, settings=settings
    )
    parser.set_defaults(handler=handler)
    return parser


def _group(commands: Any, name: str, summary: str) -> Any:
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:])
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", choices=STAGES, help="only those that failed there")
    parser.add_argument(
        "--reason", metavar="TEXT", help="only those whose reason or exception has this text"
    )
    parser.add_argument(
        "--since", type=past_time, metavar="WHEN", help="written then or later: 15m, 2h, 3d or ISO"
    )
    parser.add_argument("--until", type=past_time, metavar="WHEN", help="written before then")
    parser.add_argument("--partition", type=whole, metavar="N", help="only those of a partition")


def load_object(name: str) -> Any:
    """What ``module:attribute`` names; the module is imported only now."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
