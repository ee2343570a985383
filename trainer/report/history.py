"""Card history: what is remembered by which key, how much that is, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainer.report.markup import Html, join, table, tag
from trainer.report.numbers import DAY_SECONDS, NONE, whole
from trainer.report.subject import Subject
from trainer.report.view import View

NOTHING: Final = Html("")
MOST_SPACES: Final = 16
_MEGA: Final = 1e6

WORTH: Final = (
    "What card history is worth depends on the other columns. On the public IEEE-CIS data it has "
    "not been measured; many columns there (V, C and D) are histories already, so expect less "
    "where you have such columns. Measure it on your own transactions with fraud-trainer ablate "
    "--transactions FILE, and compare its lines with and without card history."
)


def history(subjects: Sequence[Subject]) -> Html:
    """The key spaces of the version's card history, their sizes, and the seed."""
    facts = subjects[0].facts
    found = facts.at("history")
    if not found:
        return NOTHING
    counted = facts.at("training", "history")
    rows = [
        (
            name,
            _key(space),
            _many(space.count("ttl_days"), "day"),
            whole(space.count("ring")),
            whole(counted.count("bytes_a_key", name)),
            whole(counted.count("keys", name)),
        )
        for space in found.items("spec", most=MOST_SPACES)
        if (name := space.text("space")) is not None
    ]
    head = ("key space", "key", "kept", "transactions remembered", "bytes a key", "keys")
    drawn = table("Card history", head, rows, align="llrrrr")
    lines = [_burn_in(counted), _seed(found.at("seed")), _cost(facts.at("gate", "latency")), WORTH]
    return join([*(tag("p", line) for line in lines if line), drawn])


def _key(space: View) -> str:
    key = " and ".join(space.texts("key", most=MOST_SPACES))
    start = space.text("start_day")
    return f"{key} and day - {start}" if start else key or NONE


def _burn_in(counted: View) -> str:
    rows, total = counted.count("burn_in", "rows"), counted.count("rows")
    if rows is None or total is None:
        return ""
    return (
        f"Computed in one pass over {whole(total)} transactions in time order, each from the "
        f"transactions before it. The first {whole(rows)} only built up histories: no model "
        "learned from them."
    )


def _seed(seed: View) -> str:
    size, as_of = seed.number("bytes"), seed.number("as_of")
    if size is None or as_of is None:
        return "No seed was published: scorers begin without card histories."
    return (
        f"Seed: {size / _MEGA:,.1f} MB, the histories up to day {as_of / DAY_SECONDS:.1f}, with "
        "which scorers begin. It holds card numbers, amounts and times: personal data."
    )


def _cost(latency: View) -> str:
    cost = latency.number("candidate_history_us_per_row")
    score = latency.number("candidate_us_per_row")
    if not cost or score is None:
        return ""
    return f"Computing it takes {cost:.1f} µs a transaction, beside {score:.1f} µs for the score."


def _many(n: int | None, what: str) -> str:
    return NONE if n is None else f"{whole(n)} {what}{'' if n == 1 else 's'}"
