"""Key spaces in a program's file: what it says, and that each mistake is named with its line."""

from __future__ import annotations

import copy
import re
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.contracts import NUMBER_COLUMNS
from stream_scorer.features.builtin import builtin_programs
from stream_scorer.features.history.kinds import KINDS, Takes
from stream_scorer.features.history.partition import PartitionHistory
from stream_scorer.features.history.spec import (
    MAX_RING,
    MAX_SPACES,
    MAX_TTL_DAYS,
    MAX_WIDTH,
    read_space,
)
from stream_scorer.features.operations.reading import FieldFault
from stream_scorer.features.program import ProgramError, parse_program, read_program
from tests.support.features.history_programs import (
    CARD,
    CLIENT,
    HEAD,
    everything,
    plain_program,
    small_program,
)
from tests.support.features.history_streams import features, make_spec, plain_space
from tests.support.features.plain_features import every_operation


def refused(text: str) -> str:
    with pytest.raises(ProgramError) as error:
        parse_program(text, "mine.toml")
    message = str(error.value)
    assert message.startswith("mine.toml")
    assert len(message) < 500
    assert "\n" not in message
    return message


def test_both_ways_to_list_features_are_read() -> None:
    program = small_program()
    assert program.history is not None
    assert program.history.names == (
        "client_count",
        "client_count_1h",
        "client_count_1d",
        "client_count_7d",
        "client_P_emaildomain_is_new",
        "client_card2_is_new",
        "client_card3_is_new",
        "client_card4_is_new",
        "client_card5_is_new",
        "client_card6_is_new",
        "card_gap_seconds",
        "card_C1_mean",
        "card_C2_mean",
        "card_C3_mean",
        "card_amount_decayed_90s",
        "card_amount_decayed_7d",
    )
    assert program.names == ("TransactionAmt", "C1", *program.history.names)
    assert program.groups["client_count_1h"] == "client_times"
    assert program.texts["client_count_7d"] == (
        "remembered transactions in the last 7d (client history)"
    )
    assert program.texts["client_card2_is_new"].startswith("whether attribute of the card (card2)")
    assert set(program.columns) >= {"card1", "addr1", "D1", "P_emaildomain", "card6", "C3"}
    assert "history/1" in program.semantics


LINES = (HEAD + CLIENT + CARD).splitlines()
SECOND_CLIENT = CLIENT.replace('"client"', '"other"')
LISTED = CARD[CARD.index("features") :]
SETS = 'columns = ["P_emaildomain'

WRONG: dict[str, tuple[str, str, str, str]] = {
    "unknown field": ("ring = 8", "rings = 8", "", "key space 1: ring: is missing"),
    "another field": (
        "ring = 8",
        "ring = 8\nrings = 8",
        "ring = 8|1",
        "key space 1: 'rings': is not a field of a key space",
    ),
    "no name": ('space = "client"\n', "", "[[history]]", "key space 1: space: is missing"),
    "a name with a space": (
        'space = "client"',
        'space = "my client"',
        'space = "client"',
        "key space 1: space: 'my client' must begin with",
    ),
    "a later version": (
        "version = 1\nkey",
        "version = 2\nkey",
        'space = "client"|1',
        "key space 1: version: this code has history/1, not 2",
    ),
    "no version": ("version = 1\nkey", "key", "[[history]]", "key space 1: version: is missing"),
    "no key": (
        'key = ["card1", "addr1"]\n',
        "",
        "[[history]]",
        "key space 1: key: must be a list of 1 to 2048 texts, not NoneType",
    ),
    "an empty key": ('["card1", "addr1"]', "[]", "key = ", "key space 1: key: must be a list of 1"),
    "a key without the card": (
        '["card1", "addr1"]',
        '["addr1", "card1"]',
        "key = ",
        "key space 1: key: must be card1 and at most 7 other columns: a key has to lie in one",
    ),
    "a long key": (
        '["card1", "addr1"]',
        '["card1", "C1..C8"]',
        "key = ",
        "key space 1: key: must be card1 and at most 7 other columns",
    ),
    "an unknown column in the key": (
        '["card1", "addr1"]',
        '["card1", "addr3"]',
        "key = ",
        "key space 1: key: 'addr3' is not a column that features can use; did you mean addr",
    ),
    "a column twice in the key": (
        '["card1", "addr1"]',
        '["card1", "card1..card2"]',
        "key = ",
        "key space 1: key: column card1 occurs twice",
    ),
    "a start day that is text": (
        'start_day = "D1"',
        'start_day = "P_emaildomain"',
        "start_day",
        "key space 1: start_day: must be a number column such as D1, not 'P_emaildomain'",
    ),
    "a start day that is a list": (
        '"D1"',
        '["D1"]',
        "start_day",
        "key space 1: start_day: must be a number column such as D1, not list",
    ),
    "ttl of 0": (
        "ttl_days = 180",
        "ttl_days = 0",
        "ttl_days",
        "key space 1: ttl_days: must be a whole number from 1 to 400, not 0",
    ),
    "ttl of a fraction": ("= 180", "= 1.5", "ttl_days", "key space 1: ttl_days: must be a whole"),
    "ttl that is true": ("= 180", "= true", "ttl_days", "key space 1: ttl_days: must be a whole"),
    "a large ring": (
        "ring = 8",
        "ring = 33",
        "ring",
        "key space 1: ring: must be a whole number from 0 to 32, not 33",
    ),
    "no room for the windows": (
        "ring = 8",
        "ring = 0",
        'kind = "count_in"',
        "key space 1, features 2: kind: count_in needs a ring of at least 1, and the key space has",
    ),
    "an unknown kind": (
        'kind = "is_new"',
        'kind = "is_news"',
        'kind = "is_new"',
        "key space 1, features 3: kind: unknown kind 'is_news'; did you mean is_new?",
    ),
    "a kind that resembles nothing": (
        'kind = "is_new"',
        'kind = "zzz"',
        'kind = "is_new"',
        "key space 1, features 3: kind: unknown kind 'zzz'; the kinds are count, age, gap, gap_bef",
    ),
    "no group": (
        'kind = "count"\ngroup = "client_times"',
        'kind = "count"',
        "[[history.features]]",
        "key space 1, features 1: group: is missing",
    ),
    "a group with a space": (
        'group = "client_texts"',
        'group = "my texts"',
        'group = "client_texts"',
        "key space 1, features 3: group: 'my texts' must begin with",
    ),
    "columns for a count": (
        'kind = "count"',
        'kind = "count"\ncolumns = ["C1"]',
        'kind = "count"|1',
        "key space 1, features 1: 'columns': is not a field of features of a key space",
    ),
    "seconds for a set": (
        SETS,
        "seconds = [1]\n" + SETS,
        SETS,
        "key space 1, features 3: 'seconds': is not a field of features of a key space",
    ),
    "an unknown column": (
        '"card2..card6"',
        '"card2..card9"',
        SETS,
        "key space 1, features 3: columns: 'card9' is not a column that features can use",
    ),
    "no seconds": (
        "seconds = [3600, 86400, 604800]\n",
        "",
        'kind = "count_in"|-1',
        "key space 1, features 2: seconds: must be a list of 1 to 8 whole numbers",
    ),
    "seconds of 0": (
        "[3600, 86400, 604800]",
        "[3600, 0]",
        "seconds",
        "key space 1, features 2: seconds: has 0, not a whole number from 1 to 31622400",
    ),
    "seconds of more than a year": (
        "[3600, ",
        "[31622401, ",
        "seconds",
        "key space 1, features 2: seconds: has 31622401, not a whole",
    ),
    "seconds that are true": (
        "[3600, ",
        "[true, ",
        "seconds",
        "key space 1, features 2: seconds: has True, not a whole number",
    ),
    "seconds in a list of lists": (
        "[3600, ",
        "[[3600], ",
        "seconds",
        "key space 1, features 2: seconds: has list, not a whole number",
    ),
    "seconds twice": (
        "[3600, ",
        "[86400, ",
        "seconds",
        "key space 1, features 2: seconds: has a number twice",
    ),
    "a feature twice": (
        'kind = "count_in"\ngroup = "client_times"\nseconds = [3600, 86400, 604800]',
        'kind = "count"\ngroup = "client_times"',
        'kind = "count_in"',
        "key space 1, features 2: kind: feature client_count is already one of features 1",
    ),
    "a text where numbers are needed": (
        '"C1..C3"',
        '"C1..C3", "P_emaildomain"',
        '  { kind = "mean"',
        "key space 2, features 2: columns: column P_emaildomain is text, not number",
    ),
    "an unknown kind in a list": (
        'kind = "decayed_amount"',
        'kind = "decayed"',
        '  { kind = "decayed_amount"',
        "key space 2, features 3: kind: unknown kind 'decayed'; did you mean decayed_count?",
    ),
    "a space twice": (
        'space = "card"',
        'space = "client"',
        'space = "card"',
        "key space 2: space: client occurs twice",
    ),
    "no features": (LISTED, "", 'space = "card"|-1', "key space 2: features: must be a list of 1"),
    "an empty list of features": (
        LISTED,
        "features = []\n",
        "features = [",
        "key space 2: features: must be a list of 1 to 256 tables",
    ),
    "features that are no tables": (
        LISTED,
        "features = [3]\n",
        'space = "card"|-1',
        "key space 2, features 1: features: has 3 where it needs tables",
    ),
    "features that are a table": (
        LISTED,
        "[history.features]\nkind = 'count'\n",
        'space = "card"|-1',
        "key space 2: features: must be a list of 1 to 256 tables",
    ),
}
"""What is replaced by what, where the mistake is (the line that begins so, and how far from it),
and what is said. Without a place, the table begins there."""


def line_of(place: str) -> int:
    """The number of the first line that begins like ``place``; ``|-1`` is the line before it."""
    text, _, shift = (place or "[[history]]").partition("|")
    return next(n for n, t in enumerate(LINES, 1) if t.startswith(text)) + int(shift or 0)


@pytest.mark.parametrize("what", list(WRONG))
def test_mistake_is_named_with_its_key_space_and_line(what: str) -> None:
    before, after, place, said = WRONG[what]
    text = HEAD + CLIENT + CARD
    assert before in text
    message = refused(text.replace(before, after, 1))
    assert message.startswith(f"mine.toml, line {line_of(place)}, {said}"), message


def test_features_of_a_second_space_are_found_behind_another_operation() -> None:
    text = HEAD + CLIENT + HEAD[HEAD.index("[[operation]]") :].replace("C1", "C2")
    text = text.replace('"TransactionAmt", ', "") + SECOND_CLIENT.replace("86400", "-1")
    at = [i for i, t in enumerate(text.splitlines(), 1) if "-1" in t][-1]
    assert f"mine.toml, line {at}, key space 2, features 2: seconds: has -1" in refused(text)


def test_feature_that_an_operation_has_is_refused() -> None:
    text = HEAD.replace(
        'columns = ["TransactionAmt", "C1"]', 'columns = ["C1"]\nnames = ["x_count"]'
    )
    message = refused(text + CLIENT.replace('"client"', '"x"'))
    assert "key space 1: space: feature x_count is already one of an operation" in message


@pytest.mark.parametrize(
    "text",
    ["history = 3\n" + HEAD, "history = []\n" + HEAD, HEAD + "[history]\nspace = 'client'\n"],
)
def test_history_that_is_no_list_of_tables_is_refused(text: str) -> None:
    assert "card history needs 1 to 4 key spaces, each under [[history]]" in refused(text)


def test_number_of_key_spaces_is_bounded() -> None:
    spaces = [CARD.replace('"card"', f'"card{i}"', 1) for i in range(MAX_SPACES + 1)]
    parse_program(HEAD + "".join(spaces[:-1]))
    assert "needs 1 to 4 key spaces" in refused(HEAD + "".join(spaces))


def test_record_is_bounded() -> None:
    many = [c for c in NUMBER_COLUMNS if c.startswith("V")]
    with pytest.raises(FieldFault, match="remember more than 128 columns of a kind"):
        read_space(plain_space("c", ("card1",), features("mean", *many[:129])))
    listed = features("mean", *many[:110]), features("minus_last", *many[:110])
    with pytest.raises(FieldFault, match=r"a record has 1096 bytes, and 1024 are allowed; use few"):
        read_space(plain_space("c", ("card1",), *listed))
    fewer = features("mean", *many[:110]), features("minus_last", *many[:94])
    space = read_space(plain_space("c", ("card1",), *fewer, ring=0))
    assert MAX_WIDTH - 5 < space.width <= MAX_WIDTH


def test_time_spans_are_bounded() -> None:
    halves = [features("decayed_count", seconds=(i + 1,)) for i in range(8)]
    read_space(plain_space("c", ("card1",), *halves))
    with pytest.raises(FieldFault, match="more than 8 different time spans"):
        read_space(plain_space("c", ("card1",), *halves, features("decayed_amount", seconds=(9,))))


def test_largest_spec_is_read_and_planned_in_little_time() -> None:
    """32 half-lives of a year, and lists of features that are all the same until the last."""
    spaces = [
        plain_space(
            f"s{i}",
            ("card1",),
            features("decayed_count", seconds=[366 * 86_400 - 8 * i - j for j in range(8)]),
            ttl_days=400,
        )
        for i in range(4)
    ]
    started = time.thread_time()
    PartitionHistory(make_spec(*spaces))
    twice = [features("mean", "V1..V128") for _ in range(256)]
    with pytest.raises(FieldFault, match="feature c_V1_mean is already one of features 1"):
        read_space(plain_space("c", ("card1",), *twice))
    assert time.thread_time() - started < 5


def test_plain_data_makes_an_equal_program() -> None:
    for program in (small_program(), everything()):
        again = read_program(copy.deepcopy(program.plain()))
        assert again == program
        assert again.history is not None
        assert program.history is not None
        assert again.history.fingerprint == program.history.fingerprint
        assert again.names == program.names


BUILTIN = {
    "default/1": "710eda92d1424c2db87c56204e4e245652f485b5641268d8d792b4aa1b44966f",
    "ieee-cis/1": "c3f02951be3b9630e1e50da1435b818438e352ec3fe70d756f74af773e17b340",
    "raw/1": "710eda92d1424c2db87c56204e4e245652f485b5641268d8d792b4aa1b44966f",
}


def test_programs_without_history_are_as_they_were() -> None:
    """Bundles of earlier releases name these fingerprints."""
    for name, fingerprint in BUILTIN.items():
        program = builtin_programs()[name]
        assert program.history is None
        assert program.fingerprint == fingerprint
        assert set(program.plain()) == {"format", "name", "title", "operations"}
    plain = every_operation().plain()
    assert read_program(plain) == every_operation()
    nothing: list[Any] = [[], {}, "client", 3]
    for history in nothing:
        with pytest.raises(ProgramError, match="card history needs 1 to 4 key spaces"):
            read_program({**plain, "history": history})


def test_history_changes_the_fingerprints() -> None:
    with_history, without = everything(), every_operation()
    assert with_history.fingerprint != without.fingerprint
    assert set(with_history.semantics) - set(without.semantics) == {"history/1"}
    seen = set()
    for change in (
        {},
        {"ttl_days": 4},
        {"ring": 9},
        {"key": ["card1"]},
        {"start_day": "D2"},
        {"space": "customer"},
        {"features": every_kind_features()[1:]},
    ):
        plain = plain_program()
        plain["history"][0] |= change
        program = read_program(plain)
        assert program.history is not None
        seen.add(program.history.fingerprint)
        assert program.fingerprint == with_history.fingerprint  # the meaning is the same code
    assert len(seen) == 7


def every_kind_features() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = plain_program()["history"][0]["features"]
    return listed


def test_groups_are_left_out() -> None:
    program = small_program()
    left = program.without(["client_times"])
    assert left.history is not None
    assert [n for n in program.names if "count" not in n] == list(left.names)
    assert left.history.spaces[0].ring == 8
    one = program.without(["client_times", "client_texts"])
    assert one.history is not None
    assert [space.name for space in one.history.spaces] == ["card"]
    none = program.without(["client_times", "client_texts", "card", "card_means"])
    assert none.history is None
    assert none.names == ("TransactionAmt", "C1")
    assert "history" not in none.plain()
    with pytest.raises(
        ProgramError, match=re.escape("has no group 'card_texts'; it has ['amount'")
    ):
        program.without(["card_texts"])
    with pytest.raises(ProgramError, match="no operations without"):
        program.without(["amount"])


def test_page_explains_every_kind_and_shows_a_valid_program() -> None:
    page = (Path(__file__).parents[4] / "docs" / "model.md").read_text("utf-8")
    section = page[page.index("### Card history") : page.index("### Add a feature")]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]*)\| `client_(\w+)` \|", section, re.MULTILINE)
    assert [kind for kind, _, _ in rows] == list(KINDS)
    for kind, needs, feature in rows:
        of_kind = KINDS[kind]
        assert ("ring" in needs) == of_kind.needs_ring
        assert ("seconds" in needs) == (of_kind.takes is Takes.SECONDS)
        assert ("number columns" in needs) == (of_kind.takes is Takes.NUMBERS)
        assert ("columns" in needs) == (of_kind.takes in (Takes.NUMBERS, Takes.ANY_COLUMNS))
        assert re.fullmatch(of_kind.name.format(r"\w+"), feature)
    (example,) = re.findall(r"^```toml\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    program = parse_program(HEAD + example)
    assert program.history is not None
    assert len(program.history.names) == 7
    for word in (str(MAX_WIDTH * 8), str(MAX_TTL_DAYS), str(MAX_RING)):
        assert word in section.replace(",", "")
