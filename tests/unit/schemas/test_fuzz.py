"""A short run of ``make fuzz``, the same in every run."""

from __future__ import annotations

import sys

import pytest

from schemas.csv import archive
from schemas.transactions.codec import TransactionDecoder
from stream_scorer.kafka.messages import Records
from tests.fuzz.__main__ import HANG_SECONDS, fuzz
from tests.fuzz.csvs import fuzz_csv
from tests.fuzz.decode import fuzz_decode
from tests.fuzz.files import fuzz_files
from tests.fuzz.messages import fuzz_messages
from tests.fuzz.records import make_pool, make_resolver


def test_decode_survives_random_input() -> None:
    *_, last = fuzz_decode(20_000, seed=20_000)
    assert last["records"] == 20_000
    assert last["decoded"] > 5_000  # valid ones, and damaged ones that are still valid
    assert last["rejected"] > 10_000


def test_scoring_survives_headers_and_sizes_that_are_thrown_at_it() -> None:
    *_, last = fuzz_messages(2_000, seed=3)
    assert last["records"] == 2_000
    assert last["scored"] > 600
    assert last["rejected"] > 600


def test_fuzzer_notices_headers_that_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    column = Records._column

    def careless(self: Records, name: str, otherwise: object) -> object:
        column(self, name, otherwise)
        return column(self, name, otherwise)

    monkeypatch.setattr(Records, "_column", careless)
    with pytest.raises(AssertionError, match="seed 1, batch 0"):
        list(fuzz_messages(200, seed=1))


def test_fuzzer_notices_a_neighbour_that_decodes_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_pool()
    decode = TransactionDecoder.decode

    def careless(self: TransactionDecoder, values: list[bytes], headers: list[None]) -> object:
        decoded = decode(self, values, headers)
        if len(values) > 1:
            decoded.batch.numbers[-1, 0] += 1
        return decoded

    monkeypatch.setattr(TransactionDecoder, "decode", careless)
    with pytest.raises(AssertionError, match="seed 1, batch 0"):
        list(fuzz_decode(200, seed=1, batch_records=200))


def test_ingest_reads_a_csv_or_reports_its_fault() -> None:
    *_, last = fuzz_csv(300, seed=300)
    assert last["read"] > 30
    assert last["refused"] > 100


def test_training_files_are_read_or_their_fault_is_reported() -> None:
    *_, last = fuzz_files(250, seed=250)
    assert last["read"] > 20
    assert last["refused"] > 100


def test_fuzzer_notices_an_error_that_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ZIP_FAULTS", ())
    with pytest.raises(AssertionError, match=r"seed 250, file \d+: (BadZipFile|error|zlib)"):
        list(fuzz_files(250, seed=250))


@pytest.mark.parametrize(
    ("program", "problem"),
    [
        ("import os; os.abort()", "killed by signal 6"),
        ("import sys; sys.exit('a property does not hold')", "a property does not hold"),
        ("import time; time.sleep(60)", "hang: nothing for"),
        (
            'for i in range(10): print(\'{"records": %d, "rss_mib": %d}\' % (i, i * 100))',
            "memory grew by 700 MiB",
        ),
        ('print(\'{"records": 1, "rss_mib": 1}\')', None),
    ],
)
def test_crash_hang_and_growth_of_the_child_are_seen(
    program: str, problem: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HANG_SECONDS, "decode", 1.0 if "sleep" in program else 30.0)
    run = fuzz("decode", 10, 1, 60.0, [sys.executable, "-c", program])
    assert (run.problem is None) == (problem is None), run.problem
    assert problem is None or problem in str(run.problem)
    assert run.as_json()["seed"] == 1


def test_every_wire_format_and_writer_is_in_the_pool() -> None:
    pool = make_pool()
    starts = {value[:1] for value in pool.values}
    assert {b"\x00", b"\xc3", b"{"} <= starts
    ids = {value[4] for value, header in zip(pool.values, pool.headers, strict=True)
           if value[:4] == b"\0\0\0\0" and header is None}  # fmt: skip
    assert ids == {1, 2, 3, 4, 5, 6, 7}
    assert make_resolver().ids.keys() > ids
