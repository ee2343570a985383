"""Training data in a bucket: streamed in ranges, and never a mix of two objects."""

from __future__ import annotations

import io
import uuid
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from schemas.batch import concatenate
from schemas.csv.codec import read_transactions
from schemas.errors import UnusableFileError
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


def test_archive_and_parquet_are_read_from_a_bucket_with_their_digests(
    settings: StoreSettings, bucket: str
) -> None:
    import hashlib

    identity = io.BytesIO()
    table = pa.table({"TransactionID": range(0, 20_000, 4), "id-01": [-5.0] * 5_000})
    parquet.write_table(table, identity)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("sample_submission.csv", "TransactionID,isFraud\n")
        made.writestr("test_transaction.csv", CONTENT)
        made.writestr("train_transaction.csv", CONTENT)
    contents = {"transactions": packed.getvalue(), "identity": identity.getvalue()}
    client = s3.open_client(settings)
    for name, content in contents.items():
        client.put_object(Bucket=bucket, Key=f"in/{name}", Body=content)
    uris = {name: f"s3://{bucket}/in/{name}" for name in contents}
    source = CsvSource(uris["transactions"], uris["identity"], settings)
    assert source.size() == sum(map(len, contents.values()))
    counted: list[int] = []
    rows = ingest(source, counted.append)
    assert sum(counted) == source.size()
    assert rows.facts["sha256"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in contents.items()
    }
    assert rows.facts["files"]["transactions"]["member"] == "train_transaction.csv"
    assert rows.facts["files"]["identity"]["format"] == "parquet"
    assert rows.facts["identity_match"]["transactions"] == 5_000
    batch = rows.part(rows.times < 5).batch
    assert [batch.row(i)["id_01"] for i in range(5)] == [-5.0, None, None, None, -5.0]


def test_damaged_archive_in_a_bucket_is_named(settings: StoreSettings, bucket: str) -> None:
    s3.open_client(settings).put_object(Bucket=bucket, Key="t.zip", Body=b"PK\x03\x04" * 100)
    source = CsvSource(f"s3://{bucket}/t.zip", None, settings)
    with pytest.raises(UnusableFileError, match=f"s3://{bucket}/t.zip: damaged zip archive"):
        ingest(source, lambda _: None)


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
