"""Sizes in KAFKA_CONFIG_FILE: what would stop the scorers is refused at the start."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from stream_scorer.errors import UsageError
from stream_scorer.kafka.clients import build_client, open_consumer
from stream_scorer.kafka.config import client_config, consumer_config, producer_config
from stream_scorer.kafka.driver import Consumer
from stream_scorer.kafka.sizes import OUTPUT_MAX_BYTES, RECEIVE_MAX_BYTES
from stream_scorer.runtime.settings import KafkaSettings, load_settings
from stream_scorer.stream.kafka_options import GroupOptions, member_config, txn_producer_config


def config_file(folder: Path, text: str) -> KafkaSettings:
    path = folder / "kafka.properties"
    path.write_text(text)
    return KafkaSettings(kafka_config_file=path)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("message.max.bytes", OUTPUT_MAX_BYTES),
        ("queue.buffering.max.kbytes", OUTPUT_MAX_BYTES // 1024),
        ("receive.message.max.bytes", RECEIVE_MAX_BYTES),
    ],
)
def test_size_in_the_properties_that_would_stop_the_scorers_is_refused_with_the_least_value(
    tmp_path: Path, name: str, least: int
) -> None:
    settings = config_file(tmp_path, f"{name}={least - 1}\n")
    for build in (producer_config, partial(consumer_config, group_id="g"), client_config):
        with pytest.raises(UsageError, match=rf"{name}={least - 1} is too small: .* {least} "):
            build(settings)
    assert client_config(config_file(tmp_path, f"{name}={least}\n"))[name] == str(least)


def test_all_sizes_that_are_too_small_are_listed_at_once(tmp_path: Path) -> None:
    text = "message.max.bytes=1\nreceive.message.max.bytes=2\n"
    with pytest.raises(UsageError, match=r"message\.max\.bytes=1 .*; receive\.message"):
        client_config(config_file(tmp_path, text))


def test_size_that_is_no_number_is_the_clients_to_refuse(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"kafka settings: .*message\.max\.bytes"):
        open_consumer(config_file(tmp_path, "message.max.bytes=many\n"), "group")


@pytest.mark.parametrize(("given", "used"), [(10_000_000, 700_000), (100_000, 100_000)])
def test_larger_batch_size_in_the_properties_cannot_exceed_what_the_topics_accept(
    tmp_path: Path, given: int, used: int
) -> None:
    options = GroupOptions("g", "t", max_batch_bytes=700_000)
    settings = config_file(tmp_path, f"batch.size={given}\n")
    config = txn_producer_config(settings, options, lambda *_: None)
    assert int(config["batch.size"]) == used


def test_consumers_accept_every_setting_of_ours() -> None:
    settings = load_settings(KafkaSettings)
    open_consumer(settings, "group").close()
    build_client(Consumer, member_config(settings, GroupOptions("g", "t"))).close()
