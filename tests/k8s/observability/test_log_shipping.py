"""Log lines of our processes match the configuration of the log collector."""

from __future__ import annotations

import io
import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

import pytest

from stream_scorer.runtime.logs import JsonFormatter
from tests.k8s.support.rendering import K8S, ROOT, load

FOLDER = K8S / "components/logging"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
CRI = re.compile(r"^(?P<time>.+?) (?P<stream>stdout|stderr) (?P<_p>F|P) (?P<log>.*)$")
"""The prefix that the kubelet adds to a line, as the parser ``cri`` of Fluent Bit reads it."""


def parser() -> dict[str, Any]:
    (found,) = load(FOLDER / "parsers.yml")["parsers"]
    assert isinstance(found, dict)
    return found


def pipeline() -> dict[str, Any]:
    found = load(FOLDER / "fluent-bit.yml")["pipeline"]
    assert isinstance(found, dict)
    return found


def log_line(level: str = "INFO", **extra: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("stream-scorer"))
    record = logging.makeLogRecord(
        {"name": "x", "levelname": level, "levelno": getattr(logging, level), "msg": "a\nb"} | extra
    )
    handler.handle(record)
    return stream.getvalue()


def python_format(fluent_bit: str) -> str:
    """The ``%L`` of Fluent Bit is a fraction of a second, digits only."""
    return fluent_bit.replace("%L", "%f")


@pytest.mark.parametrize("level", LEVELS)
def test_line_parses_after_the_kubelet_has_added_its_prefix(level: str) -> None:
    text = log_line(level, latency_ms=1.5, transaction_count=3, request_id="r")
    assert text.endswith("\n")
    framed = CRI.match(f"2026-01-01T12:00:00.123456789Z stderr F {text[:-1]}")
    assert framed, "one line per record, whatever the message contains"
    assert parser()["format"] == "json"
    line = json.loads(framed["log"])
    expected = {"timestamp", "level", "service", "pod", "message", "latency_ms",
                "transaction_count", "request_id"}  # fmt: skip
    assert expected <= line.keys()
    assert line["level"] == level


def test_timestamp_is_parsed_as_utc_with_milliseconds() -> None:
    line = json.loads(log_line(created=1767268800.25, msecs=250.0))
    stamp = line[parser()["time_key"]]
    time_format = python_format(parser()["time_format"])
    assert time_format.endswith("%z")
    found = datetime.strptime(stamp, time_format)  # noqa: DTZ007 - the zone is in the format
    assert found == datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def test_filter_and_labels_use_existing_keys() -> None:
    found = pipeline()
    (parsing,) = [f for f in found["filters"] if f["name"] == "parser"]
    assert parsing["parser"] == parser()["name"]
    assert parsing["key_name"] in CRI.groupindex
    (output,) = found["outputs"]
    keys = {key.removeprefix("$") for key in output["label_keys"].split(",")}
    assert keys <= json.loads(log_line()).keys()
    assert not keys & {"pod", "request_id", "message", "timestamp"}, "a label must have few values"


def test_only_log_files_of_our_namespaces_are_read() -> None:
    (source,) = pipeline()["inputs"]
    read = {path.split("_")[1] for path in source["path"].split(",")}
    ours = {load(path)["metadata"]["name"] for path in (K8S / "base").glob("*/namespace.yaml")}
    assert read == ours
    assert source["multiline.parser"] == "cri"


def test_our_pods_log_json() -> None:
    for path in (K8S / "base").glob("*/settings.env"):
        assert "LOG_FORMAT=json" in path.read_text("utf-8"), path
    assert "LOG_FORMAT: json" in (ROOT / "compose.yaml").read_text("utf-8")


def test_collector_can_write_only_its_own_state_on_the_node() -> None:
    pod = load(FOLDER / "fluent-bit-daemonset.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    writable = {m["name"] for m in container["volumeMounts"] if not m.get("readOnly")}
    assert writable == {"state"}
    mounts = {m["mountPath"] for m in container["volumeMounts"]}
    service = load(FOLDER / "fluent-bit.yml")["service"]
    assert any(service["storage.path"].startswith(path) for path in mounts)
    generator = load(FOLDER / "kustomization.yaml")["configMapGenerator"][0]
    served = {f"/fluent-bit/etc/{name.partition('=')[0]}" for name in generator["files"]}
    assert served == {service["parsers_file"], container["args"][0].partition("=")[2]}
