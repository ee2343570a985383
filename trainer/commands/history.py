"""``fraud-trainer history``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stream_scorer.errors import UsageError
from stream_scorer.runtime.text import printable
from trainer.commands.console import DONE, FAILED, Subparsers, finish
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings

if TYPE_CHECKING:
    from stream_scorer.features.history.spec import HistorySpec

COMPARE: str = """\
Compute the card history of a file as the trainer does, and of the input topic as scorers do, and
list the transactions whose features differ, each with the first reason. Exit code 1 if there are
any. Both sides begin with the seed that the scorers began with. It joins no group and commits
nothing.
"""

_SHOWN: int = 20


def add_history(commands: Subparsers) -> None:
    """``fraud-trainer history`` and its actions."""
    history = commands.add_parser("history", help="card histories offline and online")
    actions = history.add_subparsers(required=True, metavar="ACTION")
    compare: argparse.ArgumentParser = actions.add_parser(
        "compare", help="compare a file's card history with the input topic's", description=COMPARE
    )
    compare.add_argument(
        "--transactions", required=True, metavar="FILE",
        help="transactions, with or without labels: a path, file:/// or s3://",
    )  # fmt: skip
    compare.add_argument("--identity", metavar="FILE", help="identities of these transactions")
    subject = compare.add_mutually_exclusive_group()
    subject.add_argument(
        "--model", metavar="vN", help="whose history features (default: the promoted version)"
    )
    subject.add_argument(
        "--features", metavar="NAME|FILE", help="a program with history features instead"
    )
    compare.add_argument(
        "--cold", action="store_true",
        help="begin without histories at the first retained input, whatever the scorers began with",
    )  # fmt: skip
    compare.add_argument(
        "--limit", type=int, default=_SHOWN, metavar="N",
        help=f"how many differences to explain (default {_SHOWN})",
    )  # fmt: skip
    finish(compare, _compare)


def _compare(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    from stream_scorer.runtime.settings import load_settings
    from stream_scorer.settings import GroupSettings
    from trainer.data.source import CsvSource
    from trainer.skew.beginning import find_beginning
    from trainer.skew.comparison import compare
    from trainer.skew.file_side import read_file_side
    from trainer.skew.topic_side import read_topic_side
    from trainer.stages import Stages

    if not 0 <= arguments.limit <= 100_000:
        raise WrongUsageError(f"--limit {arguments.limit} must be from 0 to 100000")
    kafka = load_settings(GroupSettings)
    name, spec = _find_spec(arguments, settings)
    begin = find_beginning(settings, spec, kafka.input_topic, is_cold=arguments.cold)
    stages = Stages()
    source = CsvSource(arguments.transactions, arguments.identity, settings)
    with stages.stage("file", source.size(), "bytes") as advance:
        file = read_file_side(source, spec, begin.start, advance)
    with stages.stage("topic", None, "rows") as advance:
        topic = read_topic_side(kafka, spec, begin.start, begin.offsets, advance)
    with stages.stage("compare"):
        found = compare(spec, file, topic.side, begin.start, arguments.limit)
    if not found.compared:
        raise UsageError(
            f"no TransactionID of {arguments.transactions} ({found.in_file:,}) is in "
            f"{kafka.input_topic} ({found.in_topic:,}): are they the same transactions?"
        )
    result = {
        **name,
        "spec": spec.fingerprint,
        "file": arguments.transactions,
        "topic": kafka.input_topic,
        "era": begin.era,
        "as_of": begin.start.as_of if begin.start.as_of >= 0 else None,
        "problems": list(topic.problems),
        **found.facts(),
    }
    print(json.dumps(result) if arguments.json else "\n".join(map(printable, _describe(result))))
    return FAILED if found.differing else DONE


def _find_spec(
    arguments: argparse.Namespace, settings: TrainerSettings
) -> tuple[dict[str, str], HistorySpec]:
    """The history features to compare, and the version or program that they are of.

    Raises:
        UsageError: there is no such version or program, or it reads no card history.
    """
    from stream_scorer.model.store.opening import open_store
    from trainer.programs.chosen import choose_program
    from trainer.publishing.bundles import fetch_bundle

    if arguments.features is not None:
        program = choose_program(arguments.features).program
        named = {"program": program.name}
    else:
        store = open_store(settings)
        version = arguments.model
        if version is None:
            pointer = store.current()
            if pointer is None:
                raise UsageError(
                    f"no version is promoted in {store.where}: name one with --model vN, or a "
                    "program with --features"
                )
            version = pointer.version
        program = fetch_bundle(store, settings, version).features.program
        named = {"version": version, "program": program.name}
    if program.history is None:
        raise UsageError(f"{' of '.join(named.values())} reads no card history")
    return named, program.history


def _describe(result: Mapping[str, Any]) -> Iterator[str]:
    whose = result.get("version") or result["program"]
    began = "without histories at the first retained inputs"
    if result["era"] is not None:
        began = f"as era {result['era']} does"
        began += "" if result["as_of"] is None else f", with its seed up to {result['as_of']}"
    yield (
        f"card history of {whose} (spec {result['spec'][:16]}) in {result['file']} and "
        f"{result['topic']}, both beginning {began}"
    )
    yield f"  in the file   {result['in_file']:,} ({result['only_in_file']:,} not in the topic)"
    yield f"  in the topic  {result['in_topic']:,} ({result['only_in_topic']:,} not in the file)"
    share = result["differing"] / result["compared"] * 100
    yield (
        f"  in both       {result['compared']:,}, of which {result['differing']:,} differ "
        f"({share:.3g} %)"
    )
    for problem in result["problems"]:
        yield f"note: {problem}"
    for found in result["differences"]:
        where = f"transaction {found['transaction']} ({found['file']}, {found['topic']})"
        if found["feature"] is None:
            yield f"{where}:"
        else:
            yield (
                f"{where}: {found['feature']} is {_number(found['file_value'])} in the file and "
                f"{_number(found['topic_value'])} in the topic"
            )
        yield f"  {found['why']}"
    left = result["differing"] - len(result["differences"])
    if left:
        yield f"and {left:,} more; --limit N explains more"


def _number(value: float | None) -> str:
    return "no value" if value is None else repr(value)
