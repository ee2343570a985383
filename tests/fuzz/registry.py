"""Fuzzes a Schema Registry's answers: each is a schema or a reason, and never stops a scorer."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

from schemas.contracts import load_schema
from schemas.rejections import Rejection, Stage
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.dead_letters.headers import dead_letter_headers
from stream_scorer.runtime import schema_lookups
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.runtime.settings import RegistrySettings, load_settings
from tests.fuzz.mutations import mutate
from tests.fuzz.writers import evolved_writers, unusable_writers
from tests.support.http_registry import HttpRegistry, running_registry
from tests.support.wire import confluent

_STATUS: Final = (200, 200, 200, 200, 204, 301, 400, 401, 403, 404, 404, 409, 422, 429, 500, 503)
_TEXTS: Final[tuple[Any, ...]] = ("AVRO", "JSON", "\ud800", "", None, 5, [], {}, "x" * 3000)
_BATCH: Final = 20


def fuzz_registry(answers: int, seed: int) -> Iterator[dict[str, int]]:
    """Answer for ``answers`` schema ids, a batch of them at a time; yields figures.

    Raises:
        AssertionError: an answer was neither used nor a rejection that fits into headers.
    """
    rng = random.Random(seed)
    done = usable = 0
    before, schema_lookups._PAUSE_SECONDS = schema_lookups._PAUSE_SECONDS, 0.0  # type: ignore[misc]
    try:
        with running_registry() as registry:
            good, _ = registry.add(load_schema("transaction"))
            settings = load_settings(RegistrySettings, {"schema_registry_url": registry.url})
            with closing(RegistryResolver(settings, batch_seconds=60)) as resolver:
                resolver.by_id(good)
                decoder = TransactionDecoder(resolver)
                while done < answers:
                    ids = range(done + 10, done + 10 + _BATCH)
                    for schema_id in ids:
                        _answer(rng, registry, schema_id)
                    values = [confluent(schema_id, b"") for schema_id in ids]
                    found = decoder.decode(values, [None] * _BATCH).rejections
                    assert [r.index for r in found] == list(range(_BATCH)), f"seed {seed}"
                    usable += sum(_is_usable(r) for r in found)
                    done += _BATCH
                    yield {"answers": done, "usable": usable, "refused": done - usable}
    finally:
        schema_lookups._PAUSE_SECONDS = before  # type: ignore[misc]


def _is_usable(rejection: Rejection) -> bool:
    """Whether the schema was usable, so that only the empty body was at fault."""
    for _, value in dead_letter_headers("in", 0, 0, rejection):
        assert isinstance(value, bytes)
    json.dumps(rejection.reason, ensure_ascii=False).encode()
    return rejection.stage is not Stage.SCHEMA


def _answer(rng: random.Random, registry: HttpRegistry, schema_id: int) -> None:
    schemas = [*evolved_writers().values(), *unusable_writers().values()]
    body: dict[str, Any] = {"schema": json.dumps(rng.choice(schemas))}
    for name in ("schemaType", "message", "error_code", "guid", "references", "metadata", "schema"):
        if rng.random() < 0.12:
            body[name] = rng.choice(_TEXTS)
    data = json.dumps(body).encode()
    if rng.random() < 0.4:
        data = mutate(rng, data)
    registry.answers[f"/schemas/ids/{schema_id}"] = rng.choice(_STATUS), data
