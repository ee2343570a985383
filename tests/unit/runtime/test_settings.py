"""Settings: every fault in one message, and no secret in any."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.settings import DashboardSettings
from schemas.scores.sampling import MAX_SHARE
from stream_scorer.errors import SettingsError, UsageError
from stream_scorer.kafka.clients import open_consumer
from stream_scorer.kafka.config import (
    client_config,
    consumer_config,
    producer_config,
    read_properties,
    reader_config,
)
from stream_scorer.model.store.opening import open_store
from stream_scorer.runtime.s3 import split_s3_uri
from stream_scorer.runtime.settings import (
    KafkaSettings,
    LogSettings,
    StoreSettings,
    describe_settings,
    load_settings,
)
from stream_scorer.settings import ScorerSettings

SECRET = "hunter2-very-secret"
CONTRACT = [
    "KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
    "KAFKA_SSL_CA_LOCATION",
    "KAFKA_CONFIG_FILE",
    "KAFKA_GROUP_ID",
    "INPUT_TOPIC",
    "OUTPUT_TOPIC",
    "DLQ_TOPIC",
    "LABELS_TOPIC",
    "SCHEMA_REGISTRY_URL",
    "SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO",
    "MODEL_STORE_URI",
    "MODEL_CACHE_DIR",
    "MODEL_POLL_SECONDS",
    "MODEL_TRUSTED_KEYS",
    "MODEL_SIGNING_KEY_FILE",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "S3_BUCKET",
    "BATCH_MAX_RECORDS",
    "BATCH_MAX_WAIT_MS",
    "METRICS_PORT",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "HISTORY_REPLAY_MAX",
    "HISTORY_SNAPSHOT_SECONDS",
    "HISTORY_KEEP_DAYS",
    "HISTORY_CACHE_DIR",
    "HISTORY_ON_GAP",
    "HISTORY_MAX_KEYS",
    "HISTORY_COMPRESSION",
    "HISTORY_RESTORE_SECONDS",
]
"""The environment of the scorer, as the project promises it."""

DEFAULTS = {
    "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
    "KAFKA_GROUP_ID": "stream-scorer",
    "INPUT_TOPIC": "transactions",
    "OUTPUT_TOPIC": "fraud-scores",
    "DLQ_TOPIC": "transactions-dlq",
    "LABELS_TOPIC": "fraud-labels",
    "METRICS_PORT": 9100,
    "HISTORY_REPLAY_MAX": 1_500_000,
    "HISTORY_SNAPSHOT_SECONDS": 600,
    "HISTORY_KEEP_DAYS": 35,
    "HISTORY_CACHE_DIR": Path(".cache/stream-scorer/history"),
    "HISTORY_ON_GAP": "stop",
    "HISTORY_MAX_KEYS": 1_000_000,
    "HISTORY_COMPRESSION": "zlib",
    "HISTORY_RESTORE_SECONDS": 300,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without this project's variables."""
    for name in (
        *CONTRACT,
        "PREDICT_HISTORY",
        *(field.upper() for field in ScorerSettings.model_fields),
    ):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def faults(environment: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        environment.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(ScorerSettings)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value).splitlines()


def test_defaults_are_the_documented_ones() -> None:
    settings = load_settings(ScorerSettings)
    assert {name: getattr(settings, name.lower()) for name in DEFAULTS} == DEFAULTS


def test_help_lists_every_variable_of_the_contract_with_a_meaning() -> None:
    lines = describe_settings(ScorerSettings).splitlines()[1:]
    described = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    assert set(CONTRACT) <= described.keys()
    assert all(len(meaning) > 3 for meaning in described.values())
    assert "9100" in described["METRICS_PORT"]


def test_every_fault_is_listed_at_once(environment: pytest.MonkeyPatch) -> None:
    found = faults(
        environment,
        KAFKA_BOOTSTRAP_SERVERS="localhost",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="MD5",
        KAFKA_SSL_CA_LOCATION="/nowhere/ca.pem",
        KAFKA_SASL_PASSWORD=SECRET,
        SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO=f"me:{SECRET}",
        MODEL_STORE_URI="ftp://host/dir",
        MODEL_POLL_SECONDS="soon",
        BATCH_MAX_RECORDS="0",
        METRICS_PORT="70000",
        LOG_LEVEL="loud",
        REJECTION_MAX_SHARE="2",
    )
    assert {line.partition("=")[0].partition(":")[0] for line in found} == {
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SSL_CA_LOCATION",
        "MODEL_STORE_URI",
        "MODEL_POLL_SECONDS",
        "BATCH_MAX_RECORDS",
        "METRICS_PORT",
        "LOG_LEVEL",
        "REJECTION_MAX_SHARE",
    }
    assert len(found) == 10
    assert any("METRICS_PORT='70000'" in line for line in found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HISTORY_REPLAY_MAX", "0"),
        ("HISTORY_SNAPSHOT_SECONDS", "-1"),
        ("HISTORY_KEEP_DAYS", "0"),
        ("HISTORY_ON_GAP", "ignore"),
        ("HISTORY_MAX_KEYS", "200000000"),
        ("HISTORY_COMPRESSION", "zstd"),
        ("HISTORY_RESTORE_SECONDS", "soon"),
    ],
)
def test_wrong_settings_of_histories_are_refused(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    (line,) = faults(environment, **{name: value})
    assert line.startswith(f"{name}='{value}': Input should be")


def test_dashboard_reads_histories_from_snapshots_unless_it_is_set_otherwise(
    environment: pytest.MonkeyPatch,
) -> None:
    assert load_settings(DashboardSettings).predict_history == "snapshot"
    environment.setenv("PREDICT_HISTORY", "follow")
    assert load_settings(DashboardSettings).predict_history == "follow"
    environment.setenv("PREDICT_HISTORY", "all")
    with pytest.raises(SettingsError, match=r"PREDICT_HISTORY='all': .*'snapshot' or 'follow'"):
        load_settings(DashboardSettings)


@pytest.mark.parametrize(
    "value", ["localhost", "localhost:", ":9092", "a:1,b", "a:0", "a:65536", "a:x", "a:1,,b:2"]
)
def test_invalid_bootstrap_servers_are_refused(environment: pytest.MonkeyPatch, value: str) -> None:
    (line,) = faults(environment, KAFKA_BOOTSTRAP_SERVERS=value)
    assert "is not host:port" in line


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"INPUT_TOPIC": "a", "OUTPUT_TOPIC": "a"}, ["OUTPUT_TOPIC='a': INPUT_TOPIC has the same"]),
        ({"INPUT_TOPIC": "a", "DLQ_TOPIC": "a"}, ["DLQ_TOPIC='a': INPUT_TOPIC has the same"]),
        ({"OUTPUT_TOPIC": "a", "DLQ_TOPIC": "a"}, ["DLQ_TOPIC='a': OUTPUT_TOPIC has the same"]),
        ({"LABELS_TOPIC": "transactions"}, ["LABELS_TOPIC='transactions': INPUT_TOPIC has the"]),
        ({"INPUT_TOPIC": "fraud-scores"}, ["OUTPUT_TOPIC='fraud-scores': INPUT_TOPIC has the"]),
        (
            {"OUTPUT_TOPIC": "transactions", "DLQ_TOPIC": "transactions"},
            ["OUTPUT_TOPIC='transactions': INPUT_", "DLQ_TOPIC='transactions': INPUT_"],
        ),
    ],
)
def test_topic_used_twice_is_refused_with_both_names(
    environment: pytest.MonkeyPatch, variables: dict[str, str], expected: list[str]
) -> None:
    found = faults(environment, **variables)
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


def test_topics_may_be_named_like_other_settings(environment: pytest.MonkeyPatch) -> None:
    for name in ("SCHEMA_REGISTRY_URL", "OUTPUT_TOPIC", "KAFKA_GROUP_ID"):
        environment.setenv(name, "registry")
    assert load_settings(ScorerSettings).output_topic == "registry"


@pytest.mark.parametrize("value", ["a:1", "a:1,b:2", "a:1, b:2", "[::1]:9092", "k-0.k.ns.svc:9092"])
def test_valid_bootstrap_servers_are_accepted(environment: pytest.MonkeyPatch, value: str) -> None:
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", value)
    assert load_settings(KafkaSettings).kafka_bootstrap_servers == value


def test_sasl_needs_its_three_settings_unless_a_file_has_them(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = faults(environment, KAFKA_SECURITY_PROTOCOL="SASL_PLAINTEXT")
    assert [line.split(":")[0] for line in found] == [
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SASL_PASSWORD",
    ]
    (line,) = faults(environment, KAFKA_SASL_MECHANISM="PLAIN", KAFKA_SASL_USERNAME="me")
    assert "KAFKA_SASL_PASSWORD: required with KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT" in line
    file = tmp_path / "client.properties"
    file.write_text("sasl.oauthbearer.config=x\n")
    environment.setenv("KAFKA_CONFIG_FILE", str(file))
    assert load_settings(KafkaSettings).kafka_config_file == file


def test_secrets_are_masked_wherever_settings_are_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_SASL_PASSWORD", SECRET)
    environment.setenv("SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO", f"me:{SECRET}")
    settings = load_settings(ScorerSettings)
    for shown in (repr(settings), str(settings), settings.model_dump_json(), f"{settings!s}"):
        assert SECRET not in shown
    assert SECRET not in describe_settings(ScorerSettings)
    assert client_config(settings)["sasl.password"] == SECRET


@pytest.mark.parametrize("name", ["kafka_sasl_password", "schema_registry_basic_auth_user_info"])
def test_faulty_secret_is_masked_in_its_own_fault(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(ScorerSettings, {name: [SECRET]})
    assert SECRET not in str(caught.value)
    assert f"{name.upper()}=****" in str(caught.value)


def test_empty_variable_counts_as_unset(environment: pytest.MonkeyPatch) -> None:
    for name in CONTRACT:
        if name not in ("MODEL_TRUSTED_KEYS", "MODEL_SIGNING_KEY_FILE"):
            environment.setenv(name, "")
    settings = load_settings(ScorerSettings)
    assert {name: getattr(settings, name.lower()) for name in DEFAULTS} == DEFAULTS
    assert settings.kafka_sasl_password is None
    assert settings.store_uri.startswith("file:///")


@pytest.mark.parametrize("value", ["", "  ", "\n"])
@pytest.mark.parametrize("name", ["MODEL_TRUSTED_KEYS", "MODEL_SIGNING_KEY_FILE"])
def test_blank_variable_does_not_switch_signatures_off(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    found = faults(environment, **{name: value, "METRICS_PORT": "x"})
    assert [line for line in found if line.startswith(f"{name}: set, but blank")]
    assert [line for line in found if line.startswith("METRICS_PORT='x'")]


@pytest.mark.parametrize(
    ("value", "right"),
    [
        ("http://kafka:9092", "write kafka:9092"),
        ("https://kafka:9092/x", "write kafka:9092"),
        ("a:1,tcp://b:2", "write b:2"),
        ("kafka://", "write host:port"),
        ("kafka:9092/", "is not host:port"),
        ("kafka: 9092", "is not host:port"),
        ("a:" + "9" * 5000, "is not host:port"),
    ],
)
def test_web_address_of_a_broker_is_refused_with_the_right_form(
    environment: pytest.MonkeyPatch, value: str, right: str
) -> None:
    (line,) = faults(environment, KAFKA_BOOTSTRAP_SERVERS=value)
    assert right in line


def test_broker_may_be_given_with_its_protocol(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_BOOTSTRAP_SERVERS", "PLAINTEXT://a:1,SASL_SSL://b:2")
    assert load_settings(KafkaSettings)


@pytest.mark.parametrize("topic", ["bad topic!", "^trans.*", "a/b", "é", ".", "..", "a" * 250, " "])
def test_topic_that_kafka_refuses_is_refused_in_our_words(
    environment: pytest.MonkeyPatch, topic: str
) -> None:
    names = [f"{kind}_TOPIC" for kind in ("INPUT", "OUTPUT", "DLQ", "LABELS")]
    found = faults(environment, **dict.fromkeys(names, topic))
    assert [line.partition("=")[0] for line in found] == names
    assert all("not a topic name: only a-z, A-Z, digits" in line for line in found)


@pytest.mark.parametrize("topic", ["a", "A.b_c-9", "a" * 249, "..."])
def test_topic_that_kafka_allows_is_accepted(environment: pytest.MonkeyPatch, topic: str) -> None:
    environment.setenv("INPUT_TOPIC", topic)
    assert load_settings(ScorerSettings).input_topic == topic


@pytest.mark.parametrize("bucket", ["BAD_Bucket!", "a b", "ab", "a" * 256, "bücket"])
def test_bucket_that_cannot_be_is_refused_in_our_words(
    environment: pytest.MonkeyPatch, bucket: str
) -> None:
    found = faults(environment, S3_BUCKET=bucket, MODEL_STORE_URI=f"s3://{bucket}/models")
    assert [line.partition("=")[0] for line in found] == ["MODEL_STORE_URI", "S3_BUCKET"]
    assert all(f"{bucket!r} is not a bucket name: only a-z, A-Z, digits" in line for line in found)


def test_missing_bucket_is_named(environment: pytest.MonkeyPatch) -> None:
    (line,) = faults(environment, MODEL_STORE_URI="s3:///models")
    assert "the bucket is missing" in line


def test_bucket_of_training_data_is_checked_too() -> None:
    with pytest.raises(UsageError, match="'BAD!' is not a bucket name"):
        split_s3_uri("s3://BAD!/train.csv")


def test_overrides_win_and_none_is_no_override(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KAFKA_GROUP_ID", "from-environment")
    environment.setenv("METRICS_PORT", "1234")
    settings = load_settings(ScorerSettings, {"kafka_group_id": "flag", "metrics_port": None})
    assert (settings.kafka_group_id, settings.metrics_port) == ("flag", 1234)


def test_log_level_is_read_in_any_case(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LOG_LEVEL", "warning")
    assert load_settings(LogSettings).log_level == "WARNING"


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(ScorerSettings)
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "metrics_port", 1)  # noqa: B010 - mypy knows that it cannot be set


def test_bucket_alone_stands_for_its_uri_and_a_uri_wins(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("S3_BUCKET", "models-of-ours")
    assert load_settings(StoreSettings).store_uri == "s3://models-of-ours"
    environment.setenv("MODEL_STORE_URI", "s3://other/prefix")
    assert load_settings(StoreSettings).store_uri == "s3://other/prefix"


def test_store_without_any_setting_is_a_folder_here(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.chdir(tmp_path)
    settings = load_settings(StoreSettings)
    assert settings.store_uri == (tmp_path / ".cache/stream-scorer/store").as_uri()
    assert open_store(settings).where == settings.store_uri


def test_region_is_read_from_either_variable(environment: pytest.MonkeyPatch) -> None:
    assert load_settings(StoreSettings).region is None
    environment.setenv("AWS_REGION", "eu-central-1")
    assert load_settings(StoreSettings).region == "eu-central-1"
    environment.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert load_settings(StoreSettings).region == "ap-south-1"


def config_file(tmp_path: Path, text: str) -> KafkaSettings:
    file = tmp_path / "client.properties"
    file.write_text(text)
    return load_settings(KafkaSettings, {"kafka_config_file": file})


def test_properties_file_is_read_and_wins_over_our_defaults(tmp_path: Path) -> None:
    settings = config_file(tmp_path, "# ours\n\nlinger.ms = 7\nssl.cipher.suites=a=b\n")
    config = producer_config(settings)
    assert config["linger.ms"] == "7"
    assert config["ssl.cipher.suites"] == "a=b"


def test_line_that_is_not_a_property_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"client\.properties:2: expected key=value"):
        client_config(config_file(tmp_path, "a=b\nhello\n"))


def test_properties_that_are_not_text_are_a_users_mistake(tmp_path: Path) -> None:
    file = tmp_path / "keystore.jks"
    file.write_bytes(b"\xfe\xed\xfe\xed")
    with pytest.raises(UsageError, match="KAFKA_CONFIG_FILE"):
        read_properties(file)
    with pytest.raises(UsageError, match="KAFKA_CONFIG_FILE"):
        read_properties(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "partition.assignment.strategy=range",
        "isolation.level=read_uncommitted",
        "enable.auto.commit=true",
        "enable.idempotence=false",
        "transactional.id=x",
        "acks=1",
        "group.id=other",
        "auto.offset.reset=latest",
        "enable.partition.eof=false",
    ],
)
def test_properties_cannot_switch_exactly_once_off(tmp_path: Path, line: str) -> None:
    settings = config_file(tmp_path, f"linger.ms=1\n{line}\n")
    name = line.partition("=")[0]
    with pytest.raises(UsageError, match=name):
        consumer_config(settings, "group")
    with pytest.raises(UsageError, match=name):
        producer_config(settings)


def test_property_that_the_client_does_not_know_is_a_users_mistake(tmp_path: Path) -> None:
    settings = config_file(tmp_path, "no.such.setting=1\n")
    with pytest.raises(UsageError, match=r"no\.such\.setting"):
        open_consumer(settings, "group")


@pytest.mark.parametrize(
    "line",
    [
        "max.poll.interval.ms=30000",  # the client refuses it with its own session timeout, 45 s
        "session.timeout.ms=400000",
    ],
)
def test_member_properties_do_not_apply_to_consumers_without_a_group(
    tmp_path: Path, line: str
) -> None:
    open_consumer(config_file(tmp_path, line), "group").close()


@pytest.mark.parametrize(
    "name",
    [
        "group.instance.id",  # would fence the scorer
        "group.protocol",
        "group.remote.assignor",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "session.timeout.ms",
    ],
)
def test_member_properties_apply_only_to_the_scorer(tmp_path: Path, name: str) -> None:
    settings = config_file(tmp_path, f"{name}=x\nfetch.min.bytes=2\n")
    assert consumer_config(settings, "group")[name] == "x"
    config = reader_config(settings, "group")
    assert name not in config
    assert config["fetch.min.bytes"] == "2"


def test_consumer_that_joins_a_group_of_its_own_says_so_itself() -> None:
    settings = load_settings(KafkaSettings)
    assert reader_config(settings, "own", **{"group.protocol": "consumer"})["group.protocol"]


def test_consumers_read_committed_records_and_never_commit_by_themselves() -> None:
    config = consumer_config(load_settings(KafkaSettings), "group")
    assert config["isolation.level"] == "read_committed"
    assert config["enable.auto.commit"] is False
    assert config["auto.offset.reset"] == "earliest"


def test_producers_partition_as_the_java_client_does() -> None:
    config = producer_config(load_settings(KafkaSettings))
    assert config["partitioner"] == "murmur2_random"
    assert config["enable.idempotence"] is True
    assert config["acks"] == "all"


def test_share_of_the_random_lane_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEW_SAMPLE_SHARE", str(MAX_SHARE))
    assert load_settings(ScorerSettings).review_sample_share == MAX_SHARE
    for wrong in ("0.011", "-0.001", "nan", "1 %"):
        monkeypatch.setenv("REVIEW_SAMPLE_SHARE", wrong)
        with pytest.raises(SettingsError, match="REVIEW_SAMPLE_SHARE"):
            load_settings(ScorerSettings)
