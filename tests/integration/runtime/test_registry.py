"""The resolver against a Schema Registry over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest

from schemas.contracts import load_schema
from schemas.rejections import Stage
from schemas.resolver import UnknownSchema
from schemas.transactions.codec import TransactionDecoder, encode_transactions
from stream_scorer.dead_letters.headers import dead_letter_headers
from stream_scorer.errors import FatalError, RetryableError
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.registry import NEGATIVE_SECONDS, RegistryResolver, register_schema
from stream_scorer.runtime.settings import LogSettings, RegistrySettings, load_settings
from tests.fuzz.registry import fuzz_registry
from tests.support.factories import make_batch
from tests.support.http_registry import HttpRegistry, running_registry
from tests.support.wire import confluent

SCHEMA = load_schema("transaction")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def registry() -> Iterator[HttpRegistry]:
    with running_registry() as registry:
        yield registry


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def resolver(registry: HttpRegistry, clock: Clock) -> Iterator[RegistryResolver]:
    with closing(RegistryResolver(settings(registry), clock=clock)) as resolver:
        yield resolver


def settings(registry: HttpRegistry, user_info: str | None = None) -> RegistrySettings:
    return load_settings(
        RegistrySettings,
        {
            "schema_registry_url": registry.url,
            "schema_registry_basic_auth_user_info": user_info,
        },
    )


def test_schema_is_found_by_id_and_guid(registry: HttpRegistry, resolver: RegistryResolver) -> None:
    schema_id, guid = registry.add(SCHEMA)
    assert resolver.by_id(schema_id) == SCHEMA
    assert resolver.by_guid(guid) == SCHEMA


def test_found_schema_is_not_requested_again(
    registry: HttpRegistry, resolver: RegistryResolver, clock: Clock
) -> None:
    schema_id, _ = registry.add(SCHEMA)
    first = resolver.by_id(schema_id)
    registry.fail_with = 500
    clock.now += 1e9
    assert resolver.by_id(schema_id) is first
    assert len(registry.requests) == 1


def test_unknown_id_is_requested_again_after_a_while(
    registry: HttpRegistry, resolver: RegistryResolver, clock: Clock
) -> None:
    for _ in range(3):
        with pytest.raises(UnknownSchema, match="Schema not found"):
            resolver.by_id(1)
    assert len(registry.requests) == 1
    registry.add(SCHEMA)
    clock.now += NEGATIVE_SECONDS - 1
    with pytest.raises(UnknownSchema):
        resolver.by_id(1)
    clock.now += 1
    assert resolver.by_id(1) == SCHEMA


def test_unknown_guid_is_unknown(resolver: RegistryResolver) -> None:
    with pytest.raises(UnknownSchema):
        resolver.by_guid(b"\x01" * 16)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_failing_registry_is_retryable_and_not_cached(
    status: int, registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    registry.add(SCHEMA)
    registry.fail_with = status
    with pytest.raises(RetryableError, match=str(status)):
        resolver.by_id(1)
    registry.fail_with = None
    assert resolver.by_id(1) == SCHEMA


def test_unreachable_registry_is_retryable() -> None:
    with running_registry() as registry:
        gone = settings(registry)
    with (
        closing(RegistryResolver(gone)) as resolver,
        pytest.raises(RetryableError, match="no usable answer"),
    ):
        resolver.by_id(1)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_fatal(
    status: int, registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    registry.fail_with = status
    with pytest.raises(FatalError):
        resolver.by_id(1)


@pytest.mark.parametrize(
    ("schema", "schema_type"),
    [("message T {}", "PROTOBUF"), ("not json", "AVRO"), ('{"type": "record"}', "AVRO")],
)
def test_schema_that_is_not_avro_is_unknown(
    schema: str, schema_type: str, registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    schema_id, _ = registry.add(schema, schema_type)
    with pytest.raises(UnknownSchema):
        resolver.by_id(schema_id)


_DENIED = b'{"error_code": 40301, "message": "User is denied operation Read"}'
_SURROGATE = b'{"error_code": 40403, "message": "no \\ud800"}'
_ODD_TYPE = b'{"schema": "{}", "schemaType": "\\ud800"}'


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (403, _DENIED, "denied operation Read"),
        (401, _DENIED, "denied operation Read"),
        (500, b'{"error_code": 50001, "message": "out of order"}', "out of order"),
        (502, b"<html>", "HTTP 502"),
        (404, _SURROGATE, "ud800"),
        (500, _SURROGATE, "ud800"),
        (200, _ODD_TYPE, "ud800"),
        (200, b"<html>", "no usable answer"),
        (200, b"[]", "no usable answer"),
        (200, b"{}", "has no schema"),
        (200, b'{"schema": 5}', "has no schema"),
        (200, b'{"schema": "{}", "references": 5}', "no usable answer"),
        (200, b"", "no usable answer"),
    ],
)
def test_failure_of_one_schema_rejects_its_records_alone(
    status: int,
    body: bytes,
    told: str,
    is_new: bool,
    registry: HttpRegistry,
    resolver: RegistryResolver,
) -> None:
    schema_id, _ = registry.add(SCHEMA)
    registry.answers["/schemas/ids/7"] = status, body
    if not is_new:
        resolver.by_id(schema_id)  # so that a probe asks for this one, and not for the types
    rows = make_batch(3)
    good = encode_transactions(rows, schema_id)
    values = [good[0], b"\x00\x00\x00\x00\x07body", good[2]]
    decoded = TransactionDecoder(resolver).decode(values, [None] * 3)
    assert decoded.kept.tolist() == [0, 2]
    (rejection,) = decoded.rejections
    assert rejection.stage is Stage.SCHEMA
    assert "schema id 7" in rejection.reason
    assert told in rejection.reason
    headers = dict(dead_letter_headers("in", 0, 1, rejection))
    assert told.encode() in (headers["__connect.errors.exception.message"] or b"")


def test_any_answer_is_a_schema_or_a_rejection() -> None:
    *_, last = fuzz_registry(100, seed=3)
    assert last["answers"] == 100
    assert last["usable"] > 0
    assert last["refused"] > 0


def test_requests_are_not_logged_one_by_one(
    registry: HttpRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("test", load_settings(LogSettings, {"log_level": "INFO"}))
    try:
        with closing(RegistryResolver(settings(registry))) as resolver:
            resolver.ping()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert registry.requests
    assert "HTTP" not in capsys.readouterr().err


def test_flood_of_unknown_ids_and_valid_schemas_decodes_in_one_attempt_each(
    registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    small = {**SCHEMA, "fields": SCHEMA["fields"][:3]}
    known = [registry.add({**small, "doc": str(n)})[0] for n in range(60)]
    body = encode_transactions(make_batch(1), 1)[0][5:5]  # a body that is too short
    values = [confluent(i, body) for i in (*known, *range(1_000, 1_240))]
    decoder = TransactionDecoder(resolver)
    stages = [r.stage for r in decoder.decode(values, [None] * 300).rejections]
    assert stages == [Stage.DECODE] * 60 + [Stage.SCHEMA] * 240
    asked = len(registry.requests)
    assert asked == 300
    assert len(decoder.decode(values, [None] * 300).rejections) == 300
    assert len(registry.requests) == asked


def test_schema_is_composed_with_those_it_refers_to(
    registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    product = {"type": "enum", "name": "Product", "namespace": "shop", "symbols": ["W", "C"]}
    basket = [{"name": "again", "type": "shop.Product"}]
    basket_type = {"type": "record", "name": "Basket", "namespace": "shop", "fields": basket}
    registry.subjects["product"] = [registry.add(product)[0]]
    uses = (("shop.Product", "product"),)
    registry.subjects["basket"] = [registry.add(basket_type, references=uses)[0]]
    fields = [
        *SCHEMA["fields"][:3],
        {"name": "ProductCD", "type": ["null", "shop.Product"]},
        {"name": "basket", "type": "shop.Basket"},
    ]
    payment = {"type": "record", "name": "Payment", "namespace": "pay", "fields": fields}
    schema_id, _ = registry.add(
        payment, references=(("shop.Basket", "basket"), ("shop.Product", "product"))
    )
    body = encode_transactions(make_batch(1), 1)[0][5:]
    start = _after_fields(body, 3)
    value = confluent(schema_id, body[:start] + b"\x02\x02" + b"\x00")
    decoded = TransactionDecoder(resolver).decode([value], [None])
    assert not decoded.rejections
    assert decoded.batch.row(0)["ProductCD"] == "C"


def _after_fields(body: bytes, fields: int) -> int:
    """The position after the id, the time and the amount: two varints and a double."""
    at = 0
    for _ in range(fields - 1):
        while body[at] & 0x80:
            at += 1
        at += 1
    return at + 8


@pytest.mark.parametrize("subject", ["gone", "loop"])
def test_reference_that_cannot_be_read_is_named(
    subject: str, registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    itself = {"type": "record", "name": "Loop", "fields": [{"name": "next", "type": "Loop2"}]}
    registry.subjects["loop"] = [registry.add(itself, references=(("Loop2", "loop"),))[0]]
    fields = [*SCHEMA["fields"][:3], {"name": "x", "type": "Other"}]
    payment = {"type": "record", "name": "Payment", "fields": fields}
    schema_id, _ = registry.add(payment, references=(("Other", subject),))
    with pytest.raises(UnknownSchema, match=f"schema id {schema_id}"):
        resolver.by_id(schema_id)


def test_registry_that_fails_for_every_schema_and_lists_its_types_is_down(
    registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    known, _ = registry.add(SCHEMA)
    resolver.by_id(known)
    for schema_id in (known, 7):
        registry.answers[f"/schemas/ids/{schema_id}"] = 500, b"{}"
    with pytest.raises(RetryableError, match="schema id 7"):
        resolver.by_id(7)


def test_registering_is_idempotent_and_guards_the_subject(
    registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    schema_id = resolver.register("fraud-scores-value", SCHEMA)
    assert resolver.register("fraud-scores-value", SCHEMA) == schema_id
    assert registry.levels == {"fraud-scores-value": "BACKWARD"}
    assert resolver.by_id(schema_id) is SCHEMA


def test_existing_compatibility_level_is_not_changed(
    registry: HttpRegistry, resolver: RegistryResolver
) -> None:
    registry.levels["fraud-scores-value"] = "FULL"
    resolver.register("fraud-scores-value", SCHEMA)
    assert registry.levels == {"fraud-scores-value": "FULL"}


def test_incompatible_schema_is_fatal(registry: HttpRegistry, resolver: RegistryResolver) -> None:
    resolver.register("fraud-scores-value", SCHEMA)
    with pytest.raises(FatalError, match="incompatible"):
        resolver.register("fraud-scores-value", load_schema("fraud_label"))


def test_credentials_are_sent_and_never_shown(registry: HttpRegistry) -> None:
    secret = settings(registry, "scorer:hush")
    assert register_schema(secret, "transactions", SCHEMA) == 1
    assert all(header and header.startswith("Basic ") for header in registry.authorizations)
    registry.fail_with = 401
    with pytest.raises(FatalError) as caught:
        register_schema(secret, "transactions", SCHEMA)
    assert "hush" not in str(caught.value)


def test_topic_without_a_registry_has_no_schema_id() -> None:
    assert register_schema(load_settings(RegistrySettings), "transactions", SCHEMA) is None
