"""Feature programs with card history, as files have them."""

from __future__ import annotations

from typing import Any

from stream_scorer.features.program import Program, parse_program, read_program
from tests.support.features.history_streams import every_kind
from tests.support.features.plain_features import every_operation

HEAD = """format = 1
name = "mine/1"
title = "Mine"

[[operation]]
op = "copy"
version = 1
group = "amount"
columns = ["TransactionAmt", "C1"]

"""

CLIENT = """[[history]]
space = "client"
version = 1
key = ["card1", "addr1"]
start_day = "D1"
ttl_days = 180
ring = 8

[[history.features]]
kind = "count"
group = "client_times"

[[history.features]]
kind = "count_in"
group = "client_times"
seconds = [3600, 86400, 604800]

[[history.features]]
kind = "is_new"
group = "client_texts"
columns = ["P_emaildomain", "card2..card6"]

"""

CARD = """[[history]]
space = "card"
version = 1
key = ["card1"]
ttl_days = 90
ring = 2
features = [
  { kind = "gap", group = "card" },
  { kind = "mean", group = "card_means", columns = ["C1..C3"] },
  { kind = "decayed_amount", group = "card", seconds = [90, 604800] },
]

"""


def small_program() -> Program:
    """Two key spaces, one in each style."""
    return parse_program(HEAD + CLIENT + CARD, "mine.toml")


def plain_program() -> dict[str, Any]:
    """Every operation and every kind of history feature, as plain data."""
    history = every_kind().plain()
    return {**every_operation().plain(), "name": "everything/1", "history": history}


def everything() -> Program:
    """Every operation and every kind of history feature."""
    return read_program(plain_program())
