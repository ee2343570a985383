"""``stream-scorer verify``: prints the report and sets the exit code."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from stream_scorer.audit.verify import AuditOptions, RecomputeOptions, verify_topics
from stream_scorer.cli.console import note, say_json
from stream_scorer.cli.progress import showing_progress
from stream_scorer.cli.verify_report import print_report
from stream_scorer.errors import UsageError
from stream_scorer.runtime.settings import StoreSettings, load_settings
from stream_scorer.settings import GroupSettings


def run_verify(args: argparse.Namespace) -> int:
    """``verify``: exit code 0 only if there is no fault and at least one input was judged."""
    settings = load_settings(GroupSettings)
    versions = _existing_versions() if args.check_versions else None
    with ExitStack() as opened, showing_progress("verify", quiet=args.json) as on_progress:
        recompute = None
        if args.recompute:
            recompute = opened.enter_context(_recomputing(args.recompute, settings))
        try:
            report = verify_topics(
                settings,
                AuditOptions(
                    committed_only=args.committed,
                    since=args.since,
                    until=args.until,
                    state=args.state,
                    limit=args.max_findings,
                    sample=args.sample,
                    allowed_lost=args.allow_lost,
                    clock_skew_ms=round(args.clock_skew * 1000),
                    versions=versions,
                    stall_seconds=args.timeout,
                    recompute=recompute,
                ),
                on_progress=on_progress,
            )
        except KeyboardInterrupt:
            if args.state:
                note(f"interrupted; run the same command to continue from {args.state}")
            raise
    if args.json:
        say_json(report.as_json(args.model))
    else:
        print_report(report, args.model)
    return 0 if report.is_verified else 1


@contextmanager
def _recomputing(one_in: int, group: GroupSettings) -> Iterator[RecomputeOptions]:
    """From where scores are computed again: the scorers' store, with the scorers' checks.

    Raises:
        UsageError: the store has no version, so it cannot be the scorers'.
        SettingsError: MODEL_TRUSTED_KEYS is invalid.
        StoreError: the store does not answer.
    """
    from stream_scorer.model.by_version import BundlesByVersion
    from stream_scorer.model.signing import parse_trusted_keys
    from stream_scorer.model.store.opening import open_history_store, open_store
    from stream_scorer.state.input_log import using_input_log
    from stream_scorer.state.reader import HistoryReader

    settings = load_settings(StoreSettings)
    bundles = BundlesByVersion(
        open_store(settings), parse_trusted_keys(settings.model_trusted_keys)
    )
    if not bundles.versions():
        raise UsageError(f"no model version in {bundles.where}: set MODEL_STORE_URI")
    with using_input_log(group) as log:
        yield RecomputeOptions(one_in, bundles, HistoryReader(open_history_store(settings), log))


def _existing_versions() -> list[str]:
    """The model versions in the artifact store.

    Raises:
        UsageError: there are none, so it cannot be the scorers' store.
        StoreError: the store does not answer.
    """
    from stream_scorer.model.store.opening import open_store

    store = open_store(load_settings(StoreSettings))
    if not (found := store.versions()):
        raise UsageError(f"no model version in {store.where}: set MODEL_STORE_URI")
    return found
