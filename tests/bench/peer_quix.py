"""Quix Streams with the lean code, exactly once; runs in its own environment.

This script imports nothing of ours, because the peer's packages conflict with ours. It reads a
pickled plan and a model, scores the given number of records, and prints rows per second.
"""

# ruff: noqa: T201
from __future__ import annotations

import io
import json
import math
import pickle
import sys
import time
from pathlib import Path
from typing import Any

import fastavro
import lightgbm
import numpy as np
from quixstreams import Application


def main() -> None:
    """Read the arguments as one JSON object: servers, input, output, plan, model, rows."""
    given = json.loads(sys.argv[1])
    plan = pickle.loads(Path(given["plan"]).read_bytes())
    booster = lightgbm.Booster(model_file=given["model"])
    schema = fastavro.parse_schema(plan["schema"])
    seen = {"rows": 0, "started": 0.0}

    def score(value: bytes) -> bytes:
        record = fastavro.schemaless_reader(io.BytesIO(value[10:]), schema, None)
        raw = booster.predict(row_of(plan, record), num_threads=1)[0]
        seen["rows"] += 1
        if seen["rows"] == given["warm"]:
            seen["started"] = time.perf_counter()
        if seen["rows"] == given["warm"] + given["rows"]:
            rate = given["rows"] / (time.perf_counter() - seen["started"])
            print(json.dumps({"rows_a_second": rate}), flush=True)
            application.stop()
        return json.dumps({"id": record["TransactionID"], "score": raw}).encode()

    application = Application(
        broker_address=given["servers"],
        consumer_group=given["group"],
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        auto_create_topics=False,
        loglevel="ERROR",
        state_dir=given["state"],
    )
    source = application.topic(given["input"], value_deserializer="bytes", key_deserializer="bytes")
    target = application.topic(given["output"], value_serializer="bytes", key_serializer="bytes")
    application.dataframe(source).apply(score).to_topic(target)
    application.run()


def row_of(plan: dict[str, Any], record: dict[str, Any]) -> Any:
    """The features of one record; the same steps as the lean loop by hand."""
    nan = math.nan
    row = [nan if (v := record[c]) is None else v for c in plan["numbers"]]
    row += [
        nan if (v := record[c]) is None else plan["codes"][c].get(v, -1.0) for c in plan["texts"]
    ]
    for name in plan["frequencies"]:
        row.append(nan if (v := record[name]) is None else plan["shares"][name].get(v, 0.0))
    for a, b in plan["pairs"]:
        x, y = record[a], record[b]
        known = x is not None and y is not None
        row.append(plan["shares"][f"{a}|{b}"].get((x, y), 0.0) if known else nan)
    amount, seconds = record["TransactionAmt"], record["TransactionDT"]
    for name, means in plan["means"].items():
        mean = means.get(record[name])
        row.append(amount / mean if mean else nan)
    cents = math.floor(amount * 100 + 0.5)
    row += [cents - math.floor(amount) * 100, float(abs(amount * 100 - cents) > 1e-4)]
    row += [seconds // 3600 % 24, seconds // 86400 % 7]
    row.append(float(record["P_emaildomain"] == record["R_emaildomain"]))
    row.append(sum(record[c] is None for c in (*plan["numbers"], *plan["texts"])))
    return np.array([row], np.float64)


if __name__ == "__main__":
    main()
