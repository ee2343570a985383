"""Produces records whose header names are any bytes; Python's client only takes text for a name.

It calls the librdkafka that the client brings along (rdkafka.h), through ctypes.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import confluent_kafka

RawHeader = tuple[bytes, bytes | None]

_FLUSH_MS: Final = 120_000  # the broker may be down when it is flushed
_NEW_PARTITION_SECONDS: Final = 60.0
_POLL_MS: Final = 100
_UNKNOWN_PARTITION: Final = -190  # rd_kafka_resp_err_t
_PRODUCER: Final = 0  # rd_kafka_type_t
_COPY: Final = 2  # RD_KAFKA_MSG_F_COPY: the caller keeps its buffers
_END, _TOPIC, _PARTITION, _VALUE, _KEY, _FLAGS, _HEADERS = 0, 1, 3, 4, 5, 7, 10
"""rd_kafka_vtype_t: which argument comes next."""


class RawProducer:
    """A producer of librdkafka without Python's client around it."""

    def __init__(self, library: Any, handle: int) -> None:
        self._library = library
        self._handle = ctypes.c_void_p(handle)

    def produce(
        self,
        topic: str,
        value: bytes,
        key: bytes,
        headers: Sequence[RawHeader],
        partition: int = 0,
    ) -> None:
        """Queue one record.

        Raises:
            AssertionError: librdkafka refuses it.
        """
        library = self._library
        made = ctypes.c_void_p(library.rd_kafka_headers_new(len(headers)))
        for name, content in headers:
            size = -1 if content is None else len(content)
            error = library.rd_kafka_header_add(
                made, name, ctypes.c_ssize_t(len(name)), content, ctypes.c_ssize_t(size)
            )
            assert error == 0, error
        deadline = time.monotonic() + _NEW_PARTITION_SECONDS
        while error := library.rd_kafka_producev(
            self._handle,
            *(ctypes.c_int(_TOPIC), ctypes.c_char_p(topic.encode())),
            *(ctypes.c_int(_PARTITION), ctypes.c_int32(partition)),
            *(ctypes.c_int(_FLAGS), ctypes.c_int(_COPY)),
            *(ctypes.c_int(_VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(ctypes.c_int(_KEY), ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
            *(ctypes.c_int(_HEADERS), made),
            ctypes.c_int(_END),
        ):
            # A partition that was just added is unknown until the metadata is refreshed.
            assert error == _UNKNOWN_PARTITION, error
            assert time.monotonic() < deadline, "the partition did not appear in the metadata"
            library.rd_kafka_poll(self._handle, ctypes.c_int(_POLL_MS))

    def flush(self) -> None:
        """Wait until all records are acknowledged.

        Raises:
            AssertionError: some are not in time.
        """
        assert self._library.rd_kafka_flush(self._handle, ctypes.c_int(_FLUSH_MS)) == 0


@contextmanager
def raw_producer(bootstrap_servers: str, **more: object) -> Iterator[RawProducer]:
    """A producer that is flushed at the end; ``more``: settings of librdkafka."""
    (path,) = Path(confluent_kafka.__file__).parent.parent.glob(
        "confluent_kafka.libs/librdkafka-*.so*"
    )
    library = ctypes.CDLL(str(path))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(library, name).restype = ctypes.c_void_p
    text = ctypes.create_string_buffer(512)
    config = ctypes.c_void_p(library.rd_kafka_conf_new())
    for setting, content in (
        ("bootstrap.servers", bootstrap_servers),
        ("enable.idempotence", "true"),
        *((name, str(value)) for name, value in more.items()),
    ):
        set_it = library.rd_kafka_conf_set
        assert set_it(config, setting.encode(), content.encode(), text, 512) == 0, text.value
    handle = library.rd_kafka_new(_PRODUCER, config, text, 512)
    assert handle, text.value
    producer = RawProducer(library, handle)
    try:
        yield producer
        producer.flush()
    finally:
        library.rd_kafka_destroy(ctypes.c_void_p(handle))
