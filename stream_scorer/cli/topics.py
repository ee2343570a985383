"""``stream-scorer topics``: creates the topics, and reports problems with existing ones."""

from __future__ import annotations

import argparse

from stream_scorer.cli.console import aligned, note, say, say_json
from stream_scorer.process.topics import (
    DEFAULT_PARTITIONS,
    TopicState,
    ensure_topics,
    topic_states,
    wanted_topics,
)
from stream_scorer.runtime.settings import load_settings
from stream_scorer.settings import GroupSettings


def run_create(args: argparse.Namespace) -> int:
    """``topics create``: exit code 0, even if all topics existed; warnings are printed."""
    settings = load_settings(GroupSettings)
    states = ensure_topics(settings, args.partitions or DEFAULT_PARTITIONS, args.replication_factor)
    _show(states, as_json=args.json)
    have = next(state.partitions for state in states if state.name == settings.input_topic)
    if args.partitions not in (None, have):
        note(
            f"{settings.input_topic} already exists with {have} partitions and was not changed: "
            "adding partitions would move cards to other partitions"
        )
    return 0


def run_list_topics(args: argparse.Namespace) -> int:
    """``topics list``: exit code 1 if a topic is missing or has warnings."""
    settings = load_settings(GroupSettings)
    states = topic_states(settings)
    missing = [name for name in wanted_topics(settings) if name not in {s.name for s in states}]
    _show(states, as_json=args.json)
    if missing and not args.json:
        say(f"missing: {', '.join(missing)}; create them with: stream-scorer topics create")
    return 1 if missing or any(state.warnings for state in states) else 0


def _show(states: list[TopicState], *, as_json: bool) -> None:
    if as_json:
        say_json(
            [
                {
                    "topic": state.name,
                    "partitions": state.partitions,
                    "max_message_bytes": state.max_bytes,
                    "made": state.made,
                    "extended": state.extended,
                    "warnings": list(state.warnings),
                }
                for state in states
            ]
        )
        return
    rows = [
        [
            state.name,
            f"{state.partitions} partitions",
            f"records up to {state.max_bytes / 2**20:.0f} MiB",
            "created" if state.made else "extended" if state.extended else "",
        ]
        for state in states
    ]
    for line in aligned(rows, right=(1,)):
        say(line)
    for warning in (warning for state in states for warning in state.warnings):
        say(f"warning: {warning}")
