"""``python -m tests.autoscaling``: the measurements behind the figures of the autoscaling guide.

record     a real KEDA and HPA on real lag, second by second (requires a cluster: KUBECONFIG)
compare    the simulator's decisions and those of a recording
members    throughput of 1, 2 and 4 members, evenly loaded and with a hot partition
rebalance  how long scoring pauses when a member joins, leaves or is killed
cpu        rows per second that one CPU scores
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stream_scorer.autoscaling.trace import open_trace
from stream_scorer.local.probe import plain_settings
from tests.autoscaling.beside import Comparison, compare, picture, read_run, write_run
from tests.autoscaling.cluster import find_scaled_object, load_manifests, point_at, recreate
from tests.autoscaling.recording import Plan, TopicUnderLoad, record


def main() -> int:
    """Run one measurement; the result is JSON on standard output."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.autoscaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)
    _add_record(commands)
    beside = commands.add_parser("compare")
    beside.add_argument("recording", type=Path)
    beside.add_argument("--picture", type=Path)
    beside.set_defaults(run=_compare)
    members = commands.add_parser("members")
    members.add_argument("--rows", type=int, default=80_000, help="records per run")
    members.add_argument("--members", type=int, nargs="+", default=[1, 2, 4])
    members.add_argument("--hot-share", type=float, default=0.6)
    members.add_argument(
        "--cpu-share", type=float, default=0.1, help="share of the time that each member runs"
    )
    members.add_argument("--repetitions", type=int, default=3)
    members.set_defaults(run=_members)
    rebalance = commands.add_parser("rebalance")
    rebalance.add_argument("--repetitions", type=int, default=5)
    rebalance.add_argument("--rate", type=float, default=1200.0, help="records per second")
    rebalance.set_defaults(run=_rebalance)
    cpu = commands.add_parser("cpu")
    cpu.add_argument("--rows", type=int, default=200_000)
    cpu.add_argument("--trees", type=int, default=800)
    cpu.add_argument("--leaves", type=int, default=200)
    cpu.set_defaults(run=_cpu)
    logging.basicConfig(level=logging.WARNING)
    args = parser.parse_args()
    result = args.run(args)
    print(json.dumps(result))
    return 0


def _add_record(commands: Any) -> None:
    recording = commands.add_parser("record")
    recording.add_argument("manifests", type=Path, help="output of kubectl kustomize")
    recording.add_argument("output", type=Path)
    recording.add_argument("--title", required=True)
    recording.add_argument("--bootstrap", required=True, help="a Kafka without TLS and SASL")
    recording.add_argument("--trace", required=True)
    recording.add_argument("--capacity", type=float, default=20_000.0)
    recording.add_argument("--pod-start-seconds", type=float, default=10.0)
    recording.add_argument("--rebalance-seconds", type=float, default=3.0)
    recording.add_argument("--limit-seconds", type=float, default=1800.0)
    recording.add_argument("--min-replicas", type=int, help="instead of the manifest's")
    recording.add_argument("--sync-seconds", type=float, default=15.0, help="of the HPA controller")
    recording.add_argument(
        "--downscale-seconds", type=float, default=300.0, help="of the HPA controller"
    )
    recording.set_defaults(run=_record)


def _record(args: argparse.Namespace) -> dict[str, Any]:
    objects = load_manifests(args.manifests)
    scaled_object = find_scaled_object(objects)
    original = json.loads(json.dumps(scaled_object))
    point_at(scaled_object, args.bootstrap)
    if args.min_replicas:
        for one in (scaled_object, original):
            one["spec"]["minReplicaCount"] = args.min_replicas
    metadata = scaled_object["spec"]["triggers"][0]["metadata"]
    settings = plain_settings(args.bootstrap)
    topic = TopicUnderLoad(settings, metadata["topic"], metadata["consumerGroup"])
    recreate(objects, scaled_object)
    plan = Plan(
        open_trace(args.trace),
        args.capacity,
        args.pod_start_seconds,
        args.rebalance_seconds,
        args.limit_seconds,
    )
    samples = record(topic, scaled_object, plan, _say)
    run = {
        "title": args.title,
        "scaled_object": original,
        "partitions": len(topic.partitions),
        "plan": asdict(plan),
        "sync_seconds": args.sync_seconds,
        "downscale_seconds": args.downscale_seconds,
        "samples": samples,
    }
    write_run(args.output, run)
    return _as_json(compare(run))


def _compare(args: argparse.Namespace) -> dict[str, Any]:
    run = read_run(args.recording)
    comparison = compare(run)
    if args.picture:
        args.picture.write_text(picture(run, comparison), encoding="utf-8")
    return _as_json(comparison)


def _as_json(comparison: Comparison) -> dict[str, Any]:
    fields = asdict(comparison)
    del fields["ticks"]
    return fields


def _members(args: argparse.Namespace) -> dict[str, Any]:
    from tests.autoscaling.members import measure_members

    return measure_members(
        args.rows, args.members, args.hot_share, args.cpu_share, args.repetitions, _say
    )


def _rebalance(args: argparse.Namespace) -> dict[str, Any]:
    from tests.autoscaling.rebalance import measure_rebalances

    return measure_rebalances(args.repetitions, args.rate, _say)


def _cpu(args: argparse.Namespace) -> dict[str, Any]:
    from tests.autoscaling.cpu import measure_cpu

    return measure_cpu(args.rows, args.trees, args.leaves, _say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
