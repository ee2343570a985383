"""``stream-scorer quality``: measures what live versions are worth, and prints it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stream_scorer.cli.console import aligned, note, say, say_json
from stream_scorer.cli.progress import showing_progress
from stream_scorer.cli.times import format_time
from stream_scorer.errors import StoreError, UsageError
from stream_scorer.labels.topic import read_standing
from stream_scorer.model.store.opening import open_quality_objects, open_store
from stream_scorer.model.versions.listing import fetch_metadata
from stream_scorer.quality import words
from stream_scorer.quality.figures import LEVELS, Promises
from stream_scorer.quality.label_table import table_of
from stream_scorer.quality.metrics import build_registry, push_metrics, write_metrics
from stream_scorer.quality.page import build_page
from stream_scorer.quality.promises import read_promises
from stream_scorer.quality.published import publish
from stream_scorer.quality.run import PromisesOf, QualityOptions, measure_quality
from stream_scorer.runtime.masking import mask_userinfo
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import QualitySettings


def run_quality(args: argparse.Namespace) -> int:
    """``quality``: exit code 0 if there were scores, whatever they are worth."""
    settings = load_settings(QualitySettings)
    now = time.time_ns() // 1_000_000
    options = QualityOptions(
        args.since, args.maturity_days, args.state, args.timeout, not args.no_amounts
    )
    labels = table_of(read_standing(settings, settings.labels_topic), settings.input_topic)
    with showing_progress("quality", quiet=args.json) as on_progress:
        try:
            measured = measure_quality(
                settings, options, labels, _promises(settings), now, on_progress
            )
        except KeyboardInterrupt:
            if args.state:
                note(f"interrupted; run the same command to continue from {args.state}")
            raise
    result = measured.as_json()
    try:
        _report(args, settings, result)
    finally:  # the result is there, whatever could not be written
        if args.json:
            say_json(result)
        else:
            for line in report_lines(result):
                say(line)
    return 0 if measured.scores else 1


def _report(args: argparse.Namespace, settings: QualitySettings, result: dict[str, Any]) -> None:
    """To files, to a Pushgateway and to the store, as far as each can be written.

    A run without scores replaces nothing in the store and at the Pushgateway.
    """
    with ExitStack() as steps:  # the last one first; all run if one fails
        if args.publish and result["scores"]:
            steps.callback(_publish, settings, result)
        steps.callback(_write_metrics, args, settings, result)
        if args.html:
            steps.callback(_write_page, args.html, result)


def _publish(settings: QualitySettings, result: dict[str, Any]) -> None:
    if publish(open_quality_objects(settings), result):
        note(f"written to {mask_userinfo(settings.store_uri)}")
    else:
        note("not written to the artifact store: it has the result of a later run")


def _write_metrics(
    args: argparse.Namespace, settings: QualitySettings, result: dict[str, Any]
) -> None:
    registry = build_registry(result)
    if args.metrics_file:
        write_metrics(registry, args.metrics_file)
    if settings.pushgateway_url and result["scores"]:
        try:
            push_metrics(registry, settings.pushgateway_url)
        except (OSError, ValueError) as error:  # the result is there, and the next run pushes too
            where = settings.pushgateway_url
            note(f"could not push metrics to {mask_userinfo(f'{where}: {error}')}")


def _promises(settings: QualitySettings) -> PromisesOf:
    """Finds what metadata promises. Without a store there are no promises, and one message."""
    store = open_store(settings)
    problems: list[str] = []

    def find(version: str) -> Promises:
        if problems:
            return {}
        try:
            return read_promises(fetch_metadata(store, version))
        except UsageError:  # the version is gone, or was never in this store
            return {}
        except StoreError as error:
            problems.append(str(error))
            note(f"no promised precision, because the artifact store cannot be read: {error}")
            return {}

    return find


def _write_page(path: Path, result: Mapping[str, Any]) -> None:
    try:
        path.write_text(build_page(result), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def report_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The result as a person reads it in a terminal."""
    since, until = (format_time(result[name]) for name in ("since", "computed_at"))
    yield (
        f"{result['scores']:,} scores from {since} to {until}; {result['labels']:,} transactions "
        f"have a label; mature after {result['maturity_days']:g} days"
    )
    if not result["versions"]:
        yield "no score in this window: choose an earlier --since"
    for version in result["versions"]:
        yield ""
        yield from _version_lines(version)
    if result["problems"]:
        yield ""
        yield from words.problem_texts(result["problems"])


def _version_lines(version: Mapping[str, Any]) -> Iterator[str]:
    counts, labels = version, version["labels"]
    yield (
        f"{version['version']}  {counts['rows']:,} scores: {counts['review']:,} review, "
        f"{counts['block']:,} block; {counts['sampled']:,} sampled, {counts['matured']:,} mature"
    )
    rows = [["", "labels", "", "of rows"]]
    for source in ("matured", "reviewed", "sampled"):
        found = labels[source]
        text = f"{found['frauds']:,} fraud, {found['legitimate']:,} legitimate"
        rows.append(["labels", source, text, ""])
    for measure in ("precision", "recall"):
        for threshold in LEVELS:
            for source, figure in version[measure][threshold].items():
                rows.append([f"{measure} at {threshold}", source, *_cells(figure)])
    figure = version["average_precision"]["matured"]
    rows.append(["average precision", "matured", *_cells(figure, words.ratio)])
    rows.append(["calibration", "matured", words_of_calibration(version), ""])
    money = version["money"]
    rows.append(["fraud caught", "all", words.amount_text(money["caught"]), ""])
    rows.append(["fraud missed", "all", words.amount_text(money["missed"]), ""])
    sampled = money["missed_in_sample"]["sampled"]
    rows.append(["fraud missed, estimate", "sampled", *_cells(sampled, words.money)])
    yield from ("  " + line for line in aligned(rows, right=(3,)))
    yield from _promise_lines(version)
    yield from _product_lines(version)


def words_of_calibration(version: Mapping[str, Any]) -> str:
    """``error 0.0021; 312 frauds, 298.4 expected``, or why it is not known."""
    found = version["calibration"]["matured"]
    if "frauds" not in found:
        return str(found["reason"])
    error = found["expected_calibration_error"]
    return (
        f"error {error:.4f}; {found['frauds']:,} frauds, {found['expected_frauds']:,.1f} expected"
    )


def _cells(figure: Mapping[str, Any], write: Any = words.percent) -> list[str]:
    return [words.figure_text(figure, write), f"{figure['n']:,}" if figure["n"] else ""]


def _promise_lines(version: Mapping[str, Any]) -> Iterator[str]:
    for threshold in LEVELS:
        promised = version["promised_precision"][threshold]
        if promised is None:
            continue
        yield f"  precision at {threshold}, promised: {words.percent(promised['value'])}"
        for source, change in version["precision_change"][threshold].items():
            if change["value"] is not None:
                yield f"    by {source} labels: {words.figure_text(change, words.points)}"
        for source in words.falls_short(version, threshold):
            yield f"    BELOW THE PROMISE beyond chance, by {source} labels"


def _product_lines(version: Mapping[str, Any]) -> Iterator[str]:
    if not version["products"]:
        return
    yield "  by product, at review"
    rows = [
        ["", "", "precision", "", "recall", ""],
        ["product", "flagged", "matured", "reviewed", "matured", "sampled"],
    ]
    for product in version["products"]:
        found, recall = product["precision"]["review"], product["recall"]["review"]
        rows.append(
            [
                product["product"],
                f"{product['flagged']:,}",
                *(_short(found[source]) for source in ("matured", "reviewed")),
                *(words.brief_text(recall[source]) for source in ("matured", "sampled")),
            ]
        )
    yield from ("    " + line for line in aligned(rows, right=(1,)))
    yield from (f"    {note}" for note in words.recall_notes(version["products"]))
    yield f"    {words.MEANING_OF_PRODUCTS}"


def _short(figure: Mapping[str, Any]) -> str:
    return "-" if figure["value"] is None else words.figure_text(figure)
