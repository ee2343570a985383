"""What a page says about a case: who has it, until when, what was decided, where it is recorded."""

from __future__ import annotations

from typing import Any

import pytest

from dashboard.web.detail.case_text import describe_case

NOW = 1_795_000_000_000  # 2026-11-18 11:06:40 UTC
MINUTE = 60_000
NOBODY: dict[str, Any] = {
    "status": "open", "by": None, "until": None, "since": None, "label": None, "decided_by": None,
    "decided_at": None, "note": None, "recorded": None, "pending": False, "version": 0,
    "external": None,
}  # fmt: skip
CLAIMED = NOBODY | {"status": "claimed", "since": NOW - 3 * MINUTE, "until": NOW + 12 * MINUTE}
DECIDED = NOBODY | {"status": "decided", "label": "FRAUD", "decided_by": "ana", "decided_at": NOW}


@pytest.mark.parametrize(
    ("case", "state", "text"),
    [
        (None, "open", "Open"),
        (NOBODY, "open", "Open"),
        (CLAIMED | {"by": "ana"}, "held", "Held by ana for 3 min, until 11:18 UTC"),
        (CLAIMED | {"by": "me"}, "mine", "Held by you for 3 min, until 11:18 UTC"),
        (CLAIMED | {"by": "ana", "until": NOW - 1}, "open", "Open"),
        (CLAIMED | {"by": "ana", "since": NOW - 900}, "held",
         "Held by ana for 0 s, until 11:18 UTC"),
        (
            NOBODY | {"status": "snoozed", "by": "ana", "until": NOW + 24 * 60 * MINUTE},
            "snoozed",
            "Snoozed by ana until 2026-11-19 11:06 UTC",
        ),
        (DECIDED, "decided", "Fraud, decided by ana at 2026-11-18 11:06:40 UTC"),
        (DECIDED | {"decided_by": "me", "label": "UNSURE"}, "decided",
         "Unsure, decided by you at 2026-11-18 11:06:40 UTC"),
        (DECIDED | {"decided_by": None, "decided_at": None}, "decided",
         "Fraud, decided by an unknown user at —"),
    ],
)  # fmt: skip
def test_state_of_a_case_in_words(case: dict[str, Any] | None, state: str, text: str) -> None:
    found = describe_case(case, "me", NOW, "fraud-labels")
    assert (found.state, found.text) == (state, text)


def test_decision_says_whether_and_where_it_is_recorded() -> None:
    waiting = describe_case(DECIDED | {"pending": True}, "me", NOW, "fraud-labels")
    assert waiting.proof == "Waiting to be recorded"
    recorded = describe_case(DECIDED | {"recorded": "3:1204"}, "me", NOW, "fraud-labels")
    assert recorded.proof == "Recorded at fraud-labels[3]@1204"


def test_chargeback_and_reversal_are_shown_beside_the_state() -> None:
    for label, text in (("FRAUD", "A chargeback reported fraud"), ("LEGITIMATE", "A reversal")):
        assert text in describe_case(NOBODY | {"external": label}, None, NOW, "x").external
        assert text in describe_case(DECIDED | {"external": label}, None, NOW, "x").external
