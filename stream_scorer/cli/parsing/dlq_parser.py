"""The ``dlq`` commands on the command line."""

from __future__ import annotations

import argparse
from typing import Any, Final

from stream_scorer.cli.parsing.arguments import coordinates, past_time, positive, whole
from stream_scorer.cli.parsing.subcommands import add_command, add_group, add_json

_GROUP: Final = "stream_scorer.settings:GroupSettings"

STAGES: Final = ("framing", "schema", "decode", "validate", "score", "publish")
"""The values of :class:`schemas.rejections.Stage`, which is not imported just for ``--help``."""


def add_dlq(commands: Any) -> None:
    """Add the commands."""
    dlq = add_group(commands, "dlq", "lists, shows and redrives dead letters")
    listing = add_command(
        dlq,
        "list",
        "counts and lists dead letters",
        "stream_scorer.cli.dlq:run_list_dead_letters",
        _GROUP,
    )
    _selection(listing)
    listing.add_argument(
        "--limit", type=positive, default=20, metavar="N", help="list the newest N (20)"
    )
    add_json(listing)
    show = add_command(
        dlq, "show", "shows one dead letter", "stream_scorer.cli.dlq:run_show", _GROUP
    )
    show.add_argument(
        "place", type=coordinates, metavar="PARTITION-OFFSET", help="as shown by dlq list"
    )
    add_json(show)
    redrive = add_command(
        dlq,
        "redrive",
        "sends dead letters back to the input topic",
        "stream_scorer.cli.dlq:run_redrive",
        _GROUP,
        "Each dead letter is redriven at most once, however often this command runs, and from any\n"
        "machine: the progress is committed together with the records, in the group\n"
        "KAFKA_GROUP_ID-redrive. Dead letters left out by a filter can be redriven later. Kafka\n"
        "deletes the progress if this command does not run for offsets.retention.minutes (a\n"
        "week). After that, dead letters that are too old to know whether they were redriven\n"
        "before are skipped, unless --again is given.",
    )
    _selection(redrive)
    redrive.add_argument(
        "--dry-run", action="store_true", help="only report what would be redriven"
    )
    redrive.add_argument(
        "--again",
        action="store_true",
        help="include dead letters too old to know whether they were redriven before",
    )
    add_json(redrive)
    _add_scorer_decisions(dlq)


def _add_scorer_decisions(dlq: Any) -> None:
    """Commands that let scorers continue where only an operator can decide."""
    skip = add_command(
        dlq,
        "skip",
        "passes a batch of the input topic that scorers cannot read",
        "stream_scorer.cli.dlq:run_skip",
        _GROUP,
        "A batch that unpacks to more than receive.message.max.bytes, or is damaged, holds up its\n"
        "partition for good. Scorers report its place. Stop all of them first. This command\n"
        "writes its records to the dead letters and moves the group past them, in one Kafka\n"
        "transaction.\n"
        "Records that cannot be read at all become dead letters without key and value.",
    )
    skip.add_argument(
        "place", type=coordinates, metavar="PARTITION-OFFSET", help="as reported by a scorer"
    )
    add_json(skip)
    allow = add_command(
        dlq,
        "allow",
        "allows rejections after scorers stopped for too many of them",
        "stream_scorer.cli.dlq:run_allow",
        _GROUP,
        "Scorers stop when rejections exceed REJECTION_MAX_RUN or REJECTION_MAX_SHARE, and stop\n"
        "again after a restart. This command resets the counts. Each scorer that starts from now\n"
        "on writes N rejections to the dead letters, once, before it counts. With 0, the command\n"
        "only resets the counts.",
    )
    allow.add_argument("rejections", type=whole, metavar="N", help="number of rejections to allow")
    add_json(allow)


def _selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", choices=STAGES, help="only dead letters of this stage")
    parser.add_argument(
        "--reason",
        metavar="TEXT",
        help="only dead letters whose reason or error class contains TEXT",
    )
    parser.add_argument(
        "--since",
        type=past_time,
        metavar="TIME",
        help="written at this time or later: 2h, 3d or ISO 8601",
    )
    parser.add_argument("--until", type=past_time, metavar="TIME", help="written before this time")
    parser.add_argument(
        "--partition", type=whole, metavar="N", help="only dead letters of this partition"
    )
