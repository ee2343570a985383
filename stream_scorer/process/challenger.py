"""The challenger's process: everything it consists of is put together here.

The scorer starts it (:mod:`stream_scorer.shadow.apart`) with the version, two file descriptors, and
what it may take. It ends when the scorer ends.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from typing import Any, Final

from schemas.resolver import LocalSchemas
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.errors import ArtifactError, ScorerError, StoreError
from stream_scorer.model.bundle import Bundle, load_bundle
from stream_scorer.model.signing import parse_trusted_keys
from stream_scorer.model.store.opening import open_store
from stream_scorer.runtime.logs import configure_logging
from stream_scorer.runtime.registry import RegistryResolver
from stream_scorer.runtime.settings import load_settings
from stream_scorer.runtime.text import printable
from stream_scorer.settings import ScorerSettings
from stream_scorer.shadow import limits
from stream_scorer.shadow.channel import Channel
from stream_scorer.shadow.kafka_sink import KafkaSink
from stream_scorer.shadow.models import BundleModel
from stream_scorer.shadow.scoring import history_of
from stream_scorer.shadow.wire import Segment, Traits, scored_message, unpack
from stream_scorer.stream.pipeline import retain_freed_memory

log = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 1.0
_SHOWN_CHARACTERS: Final = 300
_MIB: Final = 1024 * 1024


def main(arguments: list[str]) -> int:
    """Load the version, then score what the scorer sends, until it sends no more."""
    version, *numbers = arguments
    connection, segment_fd, segment_size, memory, partitions, parent = map(int, numbers)
    limits.end_with(parent)
    limits.limit_memory(memory)
    channel = Channel(socket.socket(fileno=connection))
    segment = Segment(segment_size, segment_fd)
    settings = load_settings(ScorerSettings)
    configure_logging("stream-scorer", settings)
    bundle = _load(settings, version, memory, channel)
    if bundle is None:
        return 1
    registry = RegistryResolver(settings) if settings.schema_registry_url else None
    lost: list[int] = []
    sink = KafkaSink(settings, partitions, lost.append)
    model = BundleModel(bundle, 1.0, TransactionDecoder(registry or LocalSchemas()), sink)
    layout = bundle.features.layout
    columns = None if layout is None else layout.columns
    traits = Traits(version, history_of(bundle), columns)
    _prepare(sink)
    retain_freed_memory()
    channel.send({"traits": traits._asdict()})
    if settings.shadow_spare_cpu_only:
        limits.yield_processors()
    try:
        _serve(channel, segment, model, sink, lost)
    finally:
        sink.close()
    return 0


def _load(settings: ScorerSettings, version: str, memory: int, channel: Channel) -> Bundle | None:
    """The version; None: the scorer was notified why there is none."""
    try:
        keys = parse_trusted_keys(settings.model_trusted_keys)
        return load_bundle(open_store(settings).fetch(version), version, keys)
    except StoreError as error:
        channel.send({"unavailable": str(error)})
    except MemoryError:
        channel.send({"refused": f"it needs more than {memory // _MIB} MiB of memory"})
    except ArtifactError as error:
        channel.send({"refused": str(error)})
    except Exception as error:
        channel.send({"refused": f"{type(error).__name__}: {error}"[:_SHOWN_CHARACTERS]})
    return None


def _serve(
    channel: Channel, segment: Segment, model: BundleModel, sink: KafkaSink, lost: list[int]
) -> None:
    while True:
        try:
            message = channel.receive(_IDLE_SECONDS)
        except TimeoutError:
            _prepare(sink)
            continue
        except (EOFError, OSError):
            return  # the scorer has ended, or wants this one to end
        _prepare(sink)
        channel.send(_answer(message, segment, model, lost))


def _answer(
    message: dict[str, Any], segment: Segment, model: BundleModel, lost: list[int]
) -> dict[str, Any]:
    try:
        polled, part = unpack(message, segment.bytes)
        found = list(model.score_parts(polled, [part]))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:_SHOWN_CHARACTERS]
        return {"error": printable(reason)}
    if found and lost:  # what earlier batches lost is known only now
        found[0] = found[0]._replace(lost=found[0].lost + len(lost))
        lost.clear()
    return scored_message(found)


def _prepare(sink: KafkaSink) -> None:
    try:
        sink.prepare()
    except ScorerError as error:
        log.warning("the challenger's scores cannot be published: %s", error)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    os._exit(code)  # without the interpreter's shutdown, as the scorer itself
