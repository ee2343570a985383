"""``fraud-trainer models compare``: is the challenger better than the champion?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from stream_scorer.errors import StoreError, UsageError
from stream_scorer.labels.labels import ORIGINS, Labels
from stream_scorer.model.store.names import is_version
from stream_scorer.model.store.opening import open_store
from stream_scorer.model.versions.listing import UnknownVersion, require_version
from stream_scorer.quality.rows import NONE, LabelTable
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings
from stream_scorer.shadow.compare.run import Compared, CompareOptions, run_comparison
from stream_scorer.shadow.compare.text import build_page, report_lines, verdict_line
from stream_scorer.shadow.compare.verdict import EXIT_CODES
from trainer.fitting.plan import WrongUsageError
from trainer.settings import TrainerSettings

SINCE: Final = "14d"
MATURITY_DAYS: Final = 14.0

CODES: Final = ", ".join(f"{code}: {verdict}" for verdict, code in EXIT_CODES.items())
"""For the help of commands."""

_DAY_MS: Final = 86_400_000
_UNITS: Final = {"m": 60_000, "h": 3_600_000, "d": _DAY_MS, "w": 7 * _DAY_MS}
_LARGEST_AGE_MS: Final = 3650 * _DAY_MS


def add_compare(actions: Any) -> Any:
    """``fraud-trainer models compare``; returns its parser."""
    compare = actions.add_parser(
        "compare",
        help="compare the champion with the challenger on what both have scored",
        description=f"The verdict is the exit code: {CODES}. With --publish it is 0 for every "
        "verdict, and without a challenger: a scheduled run then did not fail.",
    )
    compare.add_argument(
        "champion", metavar="vN", nargs="?", help="the version that serves (the promoted one)"
    )
    compare.add_argument(
        "challenger", metavar="vM", nargs="?", help="the version that scores in shadow (that one)"
    )
    add_window(compare)
    compare.add_argument(
        "--labels", metavar="FILE", type=Path, help="a CSV of labels in place of LABELS_TOPIC"
    )
    compare.add_argument(
        "--replay",
        metavar="FILE",
        type=Path,
        help="the file of stream-scorer replay --model vM --against vN --out, in place of the "
        "topics",
    )
    compare.add_argument("--html", metavar="FILE", type=Path, help="write one HTML page too")
    compare.add_argument(
        "--publish", action="store_true", help="write the result to the store, for the dashboard"
    )
    return compare


def add_window(parser: argparse.ArgumentParser) -> None:
    """Which scores, and when they are old enough."""
    parser.add_argument(
        "--since",
        metavar="AGE",
        default=SINCE,
        help=f"scores of this age at most, such as 36h, 14d or 6w ({SINCE})",
    )
    parser.add_argument(
        "--maturity-days",
        metavar="N",
        type=float,
        default=MATURITY_DAYS,
        help="a score this old would have been reported if it were fraud "
        f"({MATURITY_DAYS:g}; needs a longer --since)",
    )


def compare_on_topics(
    arguments: argparse.Namespace, champion: str, challenger: str, *, quiet: bool
) -> Compared:
    """Compare two versions by the topics.

    Raises:
        UsageError: a topic is missing, or no transaction has both scores.
    """
    from stream_scorer.shadow.compare.topics import TopicPairs

    options = _options(arguments, champion, challenger)
    settings = load_settings(GroupSettings)
    labels = _labels(settings, getattr(arguments, "labels", None))
    pairs = TopicPairs(
        settings, champion, challenger, options.since, _progress(quiet=quiet or arguments.json)
    )
    compared = run_comparison(options, pairs.read(), settings.input_topic, labels)
    compared.result["refused"] |= {name: n for name, n in pairs.refused.items() if n}
    return compared


def refuse_unless_better(
    arguments: argparse.Namespace, settings: TrainerSettings, challenger: str
) -> int:
    """Compare with the promoted version; say so if the challenger is not better.

    Returns:
        0 if it may be promoted, else the exit code of the verdict.

    Raises:
        UsageError: the two cannot be compared.
    """
    store = open_store(settings)
    pointer = store.current()
    if pointer is None:
        raise UsageError(f"no version is promoted, so {challenger} cannot be better than it")
    if pointer.version == challenger:
        return 0
    require_version(store, challenger)
    compared = compare_on_topics(arguments, pointer.version, challenger, quiet=True)
    if code := EXIT_CODES[compared.judgement.verdict]:
        result = compared.result
        if arguments.json:
            facts = {name: result[name] for name in ("verdict", "reason", "more_labels", "next")}
            print(json.dumps({"promoted": None, **facts}))
        line = f"not promoted: {verdict_line(result)}; next: {result['next']}"
        print(f"fraud-trainer: {line}", file=sys.stderr)
    return code


def run_compare(arguments: argparse.Namespace, settings: TrainerSettings) -> int:
    """``models compare``: the exit code says the verdict, unless it is published."""
    champion, challenger = arguments.champion, arguments.challenger
    if champion is None:
        champion, challenger, why_not = _current_pair(settings)
        if why_not:
            return _nothing_to_compare(arguments, why_not)
    elif challenger is None:
        raise WrongUsageError(f"compare {champion} with which version? Name both, or none")
    for version in (champion, challenger):
        if not is_version(version):
            raise WrongUsageError(f"{version!r} is not a version such as v7")
    if champion == challenger:
        raise WrongUsageError(f"{champion} cannot be compared with itself")
    compared = _compare(arguments, settings, champion, challenger)
    try:
        if arguments.html is not None:
            _write(arguments.html, build_page(compared.result))
        if arguments.publish:
            _publish(settings, compared.result)
    finally:  # the result is there, whatever could not be written
        if arguments.json:
            print(json.dumps(compared.result))
        else:
            print("\n".join(report_lines(compared.result)))
    return 0 if arguments.publish else EXIT_CODES[compared.judgement.verdict]


def _compare(
    arguments: argparse.Namespace, settings: TrainerSettings, champion: str, challenger: str
) -> Compared:
    try:
        if arguments.replay is not None:
            return _compare_replayed(arguments, champion, challenger)
        return compare_on_topics(arguments, champion, challenger, quiet=False)
    except WrongUsageError:
        raise
    except UsageError as error:
        if hint := _unknown(settings, champion, challenger):
            raise UsageError(f"{error}; {hint}") from error
        raise


def _unknown(settings: TrainerSettings, *versions: str) -> str:
    """That the store has no such version, if so; it may be why nothing could be compared.

    A version whose scores are in the topics need not be in this store any more.
    """
    try:
        store = open_store(settings)
        for version in versions:
            require_version(store, version)
    except (UnknownVersion, StoreError) as error:
        return str(error)
    return ""


def _current_pair(settings: TrainerSettings) -> tuple[str, str, str]:
    """The version that serves, the one that scores in shadow, and why they are no pair, if so."""
    store = open_store(settings)
    pointer, challenger = store.current(), store.challenger().version
    if challenger is None:
        return "", "", "no version scores in shadow: fraud-trainer models challenge vN begins it"
    if pointer is None:
        return "", "", f"no version is promoted, so there is none to compare {challenger} with"
    if pointer.version == challenger:
        return "", "", f"{challenger} scores in shadow and is promoted: nothing to compare it with"
    return pointer.version, challenger, ""


def _nothing_to_compare(arguments: argparse.Namespace, why_not: str) -> int:
    """Not a failure of a scheduled run, but of a person who wanted a verdict."""
    if not arguments.publish:
        raise UsageError(why_not)
    print(json.dumps({"challenger": None, "why_not": why_not}) if arguments.json else why_not)
    return 0


def _compare_replayed(arguments: argparse.Namespace, champion: str, challenger: str) -> Compared:
    from stream_scorer.shadow.compare.replayed import read_replay

    options = _options(arguments, champion, challenger)
    settings = load_settings(GroupSettings)
    pairs = read_replay(arguments.replay, champion, challenger, options.now)
    labels = _labels(settings, arguments.labels)
    return run_comparison(options, pairs, settings.input_topic, labels, is_replay=True)


def _options(arguments: argparse.Namespace, champion: str, challenger: str) -> CompareOptions:
    now = time.time_ns() // 1_000_000
    days = arguments.maturity_days
    if not 0 <= days <= _LARGEST_AGE_MS / _DAY_MS:
        raise WrongUsageError(f"--maturity-days {days:g} is not from 0 to 3650")
    return CompareOptions(champion, challenger, now - _age(arguments.since), now, days)


def _age(text: str) -> int:
    """Milliseconds of an age such as ``14d``."""
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdecimal() and len(number) < 7 and unit in _UNITS:
        age = int(number) * _UNITS[unit]
        if 0 < age <= _LARGEST_AGE_MS:
            return age
    raise WrongUsageError(f"--since {text!r} is not an age such as 36h, 14d or 6w")


def _labels(settings: GroupSettings, path: Path | None) -> LabelTable:
    if path is None:
        from stream_scorer.labels.topic import read_standing
        from stream_scorer.quality.label_table import table_of as table_of_standing

        standing = read_standing(settings, settings.labels_topic)
        return table_of_standing(standing, settings.input_topic)
    from trainer.data.label_file import read_label_file

    return table_of(read_label_file(str(path)))


def table_of(labels: Labels) -> LabelTable:
    """Labels of a file as the labels topic gives them; without an origin they are reports."""
    is_analyst = labels.origins == ORIGINS.index("ANALYST")
    values, nowhere = labels.values, np.full(len(labels), -1, np.int64)
    return LabelTable(
        labels.ids,
        values,
        np.zeros(len(labels), np.int64),
        np.where(is_analyst, values, NONE).astype(np.int8),
        np.where(is_analyst, NONE, values).astype(np.int8),
        nowhere,
        nowhere,
    )


def _publish(settings: TrainerSettings, result: dict[str, Any]) -> None:
    content = json.dumps(result).encode()
    try:
        open_store(settings).write_comparison(result["champion"], result["challenger"], content)
    except StoreError as error:
        raise UsageError(f"the comparison was not published: {error}") from error


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def _progress(*, quiet: bool) -> Any:
    """A line on standard error that is rewritten, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        return lambda _done, _total: None

    def show(done: int, total: int) -> None:
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\rcompare: {done:,} of {total:,} records{end}")
        sys.stderr.flush()

    return show
