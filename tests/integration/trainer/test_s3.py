"""Training data in a bucket: streamed in ranges, and never a mix of two objects."""

from __future__ import annotations

import uuid

import pytest

from schemas.batch import concatenate
from schemas.csv.codec import read_transactions
from stream_scorer.errors import UsageError
from stream_scorer.runtime import s3
from stream_scorer.runtime.settings import StoreSettings, load_settings
from trainer.data.ingest import ingest
from trainer.data.source import CsvSource

HEADER = b"TransactionID,isFraud,TransactionDT,TransactionAmt,ProductCD\n"
CONTENT = HEADER + b"".join(b"%d,%d,%d,1.5,W\n" % (i, i % 2, i) for i in range(20_000))


@pytest.fixture
def settings(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> StoreSettings:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_endpoint)
    return load_settings(StoreSettings)


@pytest.fixture
def bucket(settings: StoreSettings) -> str:
    name = f"data-{uuid.uuid4().hex[:12]}"
    client = s3.open_client(settings)
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="in/train.csv", Body=CONTENT)
    return name


def test_a_csv_is_streamed_from_a_bucket(
    settings: StoreSettings, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_BLOCK_BYTES", 64 * 1024)
    with s3.open_stream(f"s3://{bucket}/in/train.csv", settings) as stream:
        batch = concatenate([chunk.batch for chunk in read_transactions(stream)])
    assert batch.ids.tolist() == list(range(20_000))


def test_the_trainer_reads_and_digests_a_bucket(settings: StoreSettings, bucket: str) -> None:
    import hashlib

    source = CsvSource(f"s3://{bucket}/in/train.csv", None, settings)
    assert source.size() == len(CONTENT)
    rows = ingest(source, lambda _: None)
    assert len(rows) == 20_000
    assert rows.facts["sha256"]["transactions"] == hashlib.sha256(CONTENT).hexdigest()


def test_an_object_replaced_while_it_is_read_is_an_error(
    settings: StoreSettings, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "READ_BLOCK_BYTES", 64 * 1024)
    client = s3.open_client(settings)
    with s3.open_stream(f"s3://{bucket}/in/train.csv", settings) as stream:
        assert stream.read(10) == CONTENT[:10]
        client.put_object(Bucket=bucket, Key="in/train.csv", Body=CONTENT[::-1])
        with pytest.raises(UsageError, match=f"cannot read s3://{bucket}/in/train.csv at byte"):
            stream.read()


@pytest.mark.parametrize("key", ["in/absent.csv", ""])
def test_missing_object_is_named(settings: StoreSettings, bucket: str, key: str) -> None:
    with pytest.raises(UsageError, match=f"s3://{bucket}/{key}"):
        s3.open_stream(f"s3://{bucket}/{key}", settings)
