"""The data summary and the model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from trainer.report.markup import Html, join, table, tag
from trainer.report.numbers import NONE, days, flatten, percent, plain, whole, words
from trainer.report.subject import Subject, synthetic_warning
from trainer.report.view import View

NOTHING: Final = Html("")
MOST_FACTS: Final = 60
_SHOWN_APART: Final = {
    "source",
    "identity",
    "sha256",
    "rows",
    "frauds",
    "window_seconds",
    "split",
    "stages",
    "history",
}

INTENDED_USE: Final = (
    "Scores card transactions one by one, from the columns of the IEEE-CIS data, so that the "
    "riskiest can be reviewed or blocked. The score estimates how likely it is that a transaction "
    "will be reported as fraud."
)
LIMITS: Final = (
    "It was evaluated only on the rows described here; others may behave differently.",
    "Labels come from reports, so fraud that was not reported counts as legitimate.",
    "Fraud changes. Watch the drift of the scores, and retrain.",
    "A score alone must not decide about a person: a blocked customer needs a human to turn to.",
)


def data_summary(subjects: Sequence[Subject]) -> Html:
    """Where the rows came from, how many they are, and what ingest found."""
    found = [s.facts.at("training") for s in subjects]
    rows: list[list[str | Html]] = []

    def add(name: str, values: list[str | Html]) -> None:
        if any(value != NONE for value in values):
            rows.append([name, *values])

    add("source", [f.text("source") or NONE for f in found])
    add("identity file", [f.text("identity") or NONE for f in found])
    digests = dict.fromkeys(n for f in found for n, _ in f.entries("sha256", most=10))
    for name in digests:
        add(f"SHA-256 of {name}", [_code(f.text("sha256", name)) for f in found])
    for name, label in (("file", "imported model"), ("learner", "library of the imported model")):
        add(label, [s.facts.text("imported", name) or NONE for s in subjects])
    add(
        "SHA-256 of the imported model",
        [_code(s.facts.text("imported", "sha256")) for s in subjects],
    )
    add("transactions", [whole(f.count("rows")) for f in found])
    add("frauds", [_frauds(f) for f in found])
    add("days of the data", [_window(f) for f in found])
    others = dict.fromkeys(n for f in found for n, _ in f.entries(most=MOST_FACTS))
    for name in others:
        if name not in _SHOWN_APART:
            flat = [dict(flatten(View({name: f.at(name).value}))) for f in found]
            for label in dict.fromkeys(n for values in flat for n in values):
                add(label, [values.get(label, NONE) for values in flat])
    drawn = table("Data summary", _head(subjects), rows, align="l" * (1 + len(subjects)))
    return join([drawn, _stages(found[0])])


def _stages(facts: View) -> Html:
    """Time and memory of each stage of the training run."""
    rows = []
    for name, stage in facts.entries("stages", most=MOST_FACTS):
        seconds, peak = stage.number("seconds"), stage.number("peak_mib")
        if seconds is not None:
            rows.append((words(name), f"{seconds:,.1f}", whole(peak)))
    head = ("stage", "seconds", "peak memory (MiB)")
    return table("Time and memory of the training run", head, rows, style="dense")


def _head(subjects: Sequence[Subject]) -> tuple[str, ...]:
    return ("", *(s.name for s in subjects)) if len(subjects) > 1 else ("", "value")


def _code(value: str | None) -> str | Html:
    return NONE if value is None else tag("code", value, class_="digest")


def _frauds(facts: View) -> str:
    rows, frauds = facts.count("rows"), facts.count("frauds")
    if frauds is None:
        return NONE
    return f"{whole(frauds)} ({percent(frauds / rows)})" if rows else whole(frauds)


def _window(facts: View) -> str:
    window = facts.interval("window_seconds")
    return NONE if window is None else days(*window)


def model_card(subjects: Sequence[Subject], promotions: Sequence[Mapping[str, object]]) -> Html:
    """Use, limits, parameters, versions, and who promoted what."""
    limits = [*LIMITS]
    calibration = subjects[0].facts.at("calibration")
    if calibration and not calibration.text("method"):
        limits.insert(0, "The score is not calibrated: use its order, and not its value.")
    if subjects[0].facts.at("imported"):
        limits.insert(0, "It was trained elsewhere: nobody checked whether it has seen these rows.")
    warning = synthetic_warning(subjects)
    if warning is not None:
        limits.insert(0, warning)
    return join(
        [
            tag("h3", "Intended use"),
            tag("p", INTENDED_USE),
            tag("h3", "Limits"),
            tag("ul", *(tag("li", limit) for limit in limits)),
            _settings(subjects),
            _libraries(subjects),
            promotion_table(subjects, promotions),
        ]
    )


def _settings(subjects: Sequence[Subject]) -> Html:
    """One table a group of parameters; for two versions, one table with what differs first."""
    if len(subjects) == 1:
        return _groups(subjects[0].facts.at("parameters"))
    found = [dict(flatten(s.facts.at("parameters"))) for s in subjects]
    names = list(dict.fromkeys(name for values in found for name in values))
    rows = [[name, *(values.get(name, NONE) for values in found)] for name in names]
    rows.sort(key=lambda row: len(set(row[1:])) == 1)
    differ = sum(len(set(row[1:])) > 1 for row in rows)
    caption = f"Parameters: {differ} differ" if differ else "Parameters: all equal"
    return table(caption, _head(subjects), rows, align="lll", style="dense")


def _groups(parameters: View) -> Html:
    tables, single = [], []
    for name, value in parameters.entries(most=MOST_FACTS):
        if value.entries(most=1):
            tables.append(
                table(f"Parameters: {words(name)}", ("", "value"), flatten(value), align="ll",
                      style="dense")
            )  # fmt: skip
        else:
            single.append((words(name), plain(value) if value else NONE))
    tables.append(table("Parameters: others", ("", "value"), single, align="ll", style="dense"))
    return tag("div", *(found for found in tables if found), class_="cards")


def _libraries(subjects: Sequence[Subject]) -> Html:
    rows: list[list[str | Html]] = []
    found = [s.facts.entries("libraries", most=30) for s in subjects]
    names = dict.fromkeys(name for entries in found for name, _ in entries)
    rows.append(["Python", *(s.facts.text("python") or NONE for s in subjects)])
    rows += [[n, *(s.facts.text("libraries", n) or NONE for s in subjects)] for n in names]
    prints = [s.facts.text("features", "fingerprint") for s in subjects]
    rows.append(["feature fingerprint", *map(_code, prints)])
    histories = [s.facts.text("history", "fingerprint") for s in subjects]
    rows.append(["history fingerprint", *map(_code, histories)])
    rows.append(
        ["transaction schema", *(_code(s.facts.text("schema_fingerprint")) for s in subjects)]
    )
    kept = [row for row in rows if any(value != NONE for value in row[1:])]
    return table(
        "Versions and fingerprints", _head(subjects), kept, align="l" * (1 + len(subjects))
    )


def promotion_table(
    subjects: Sequence[Subject], promotions: Sequence[Mapping[str, object]]
) -> Html:
    """The promotions of these versions; who forced one, and why, if it is recorded."""
    names = {s.name for s in subjects}
    rows = []
    for record in map(View, promotions[-200:]):
        if record.text("version") not in names:
            continue
        override = record.at("override")
        kind = "rolled back to" if record.flag("is_rollback") else "promoted"
        kind = f"{kind}, forced past the gate" if override else kind
        rows.append(
            (
                record.text("version") or NONE,
                kind,
                record.text("at") or NONE,
                override.text("by") or record.text("host") or NONE,
                override.text("reason") or NONE,
            )
        )
    head = ("version", "what", "when", "who or where", "reason")
    return table("Promotions", head, rows, align="lllll")
