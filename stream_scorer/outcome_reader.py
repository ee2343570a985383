"""Turns records of the input, output and dead letter topic into columns for an audit."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, NamedTuple, cast

import fastavro
import numpy as np

from schemas.framing import CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC
from schemas.records import UndecodableRecord
from schemas.rejections import ERROR_HEADERS
from schemas.resolver import SchemaResolver, UnknownSchema
from schemas.writer_schema import UnreadableSchema, parse_writer
from stream_scorer.findings import Coordinates, Kind, Outcomes
from stream_scorer.runtime.kafka import Message

_NO_INPUT: Final = (-1, -1)  # the outcome names an input of another topic, or none that can be


class Source(NamedTuple):
    """The input an outcome says it is of."""

    topic: str
    partition: int
    offset: int


class ScoreReader:
    """Reads the source of scores, each by the schema it was written with.

    Schemas are parsed once for each framing prefix; a score costs some 6 microseconds.
    """

    def __init__(self, resolver: SchemaResolver) -> None:
        self._resolver = resolver
        self._writers: dict[bytes, Any] = {}

    def source(self, value: bytes | None) -> Source:
        """Where a score's input is.

        Raises:
            UndecodableRecord: the value is no score.
            RetryableError: the registry does not answer.
        """
        if not value:
            raise UndecodableRecord("the value is empty")
        head = value[:10] if value.startswith(SINGLE_OBJECT_MAGIC) else value[:5]
        writer = self._writers.get(head) or self._parse(head)
        try:
            source = fastavro.schemaless_reader(io.BytesIO(value[len(head) :]), writer)["source"]
            return Source(source["topic"], source["partition"], source["offset"])
        except Exception as error:  # untrusted bytes raise anything in there
            raise UndecodableRecord(f"not readable by its schema: {error}") from error

    def _parse(self, head: bytes) -> Any:
        try:
            if head.startswith(SINGLE_OBJECT_MAGIC):
                schema = self._resolver.by_fingerprint(head[2:])
            elif head.startswith(CONFLUENT_MAGIC):
                schema = self._resolver.by_id(int.from_bytes(head[1:], "big"))
            else:
                raise UndecodableRecord(f"no known framing starts with {head[:4].hex(' ')}")
            writer = parse_writer(schema)
        except (UnknownSchema, UnreadableSchema) as error:
            raise UndecodableRecord(str(error)) from error
        return self._writers.setdefault(head, writer)


def dead_letter_source(message: Message) -> Source:
    """Where a dead letter's input was.

    Raises:
        UndecodableRecord: the headers do not say.
    """
    found = error_headers(message)
    try:
        return Source(found["topic"], int(found["partition"]), int(found["offset"]))
    except KeyError as error:
        raise UndecodableRecord(f"header {ERROR_HEADERS}{error.args[0]} is missing") from None
    except ValueError as error:
        raise UndecodableRecord(f"a header is no number: {error}") from None


def error_headers(message: Message) -> dict[str, str]:
    """A dead letter's ``__connect.errors.*`` headers without that prefix.

    The last of a name counts: those before it came with the input.
    """
    return {
        name.removeprefix(ERROR_HEADERS): as_text(value)
        for name, value in headers_of(message)
        if name.startswith(ERROR_HEADERS)
    }


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """A record's headers in their order, repeated ones included."""
    # The client's stubs allow a dict here, which only its producer takes.
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def as_text(value: bytes | None) -> str:
    """A header's value for people; bytes that are no UTF-8 are escaped."""
    if value is None:
        return ""
    return value.decode("utf-8", "backslashreplace")


def key_hash(key: bytes | str | None) -> int:
    """CRC-32 of a key; a missing key and an empty one differ."""
    if key is None:
        return 0xFFFFFFFF
    return zlib.crc32(key.encode() if isinstance(key, str) else key)


def by_partition(records: Iterable[Message]) -> Iterator[tuple[int, list[Message]]]:
    """The records of each partition, in their order."""
    ordered = sorted(records, key=_partition)
    for partition, group in groupby(ordered, _partition):
        yield partition, list(group)


def read_keys(records: list[Message]) -> tuple[Any, Any]:
    """Offsets and key hashes of one partition's inputs."""
    return (
        np.array([message.offset() for message in records], np.int64),
        np.array([key_hash(message.key()) for message in records], np.uint32),
    )


class OutcomeReader:
    """Reads outcomes of one kind; those that do not say whose they are come apart."""

    def __init__(self, kind: Kind, input_topic: str, scores: ScoreReader) -> None:
        self._kind = kind
        self._input_topic = input_topic
        self._scores = scores

    def read(self, partition: int, records: list[Message]) -> tuple[Outcomes, list[Coordinates]]:
        """One partition's records as columns, and where the unreadable ones are."""
        offsets, sources, hashes = [], [], []
        unreadable: list[Coordinates] = []
        for message in records:
            offset = message.offset() or 0
            try:
                source = self._source(message)
            except UndecodableRecord:
                unreadable.append(Coordinates(partition, offset))
                continue
            offsets.append(offset)
            hashes.append(key_hash(message.key()))
            is_ours = source.topic == self._input_topic and source.offset >= 0
            sources.append((source.partition, source.offset) if is_ours else _NO_INPUT)
        table = np.array(sources, np.int64).reshape(-1, 2)
        outcomes = Outcomes(
            self._kind,
            partition,
            np.array(offsets, np.int64),
            np.ascontiguousarray(table[:, 0]),
            np.ascontiguousarray(table[:, 1]),
            np.array(hashes, np.uint32),
        )
        return outcomes, unreadable

    def _source(self, message: Message) -> Source:
        if self._kind is Kind.DEAD_LETTER:
            return dead_letter_source(message)
        return self._scores.source(message.value())


def _partition(message: Message) -> int:
    return message.partition() or 0
