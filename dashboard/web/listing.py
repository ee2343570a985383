"""Reads pages of flagged transactions, for the API and the HTML pages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from fastapi import Request

from dashboard.cache.flag import Position, add_member, format_flag_id, parse_flag_id
from dashboard.cache.parsing import SELECTION_PARAMETERS, parse_selection, parse_sort
from dashboard.cache.reading import Listing, Sort, StoredFlag, read_page, read_position
from dashboard.cases.statuses import CaseStatuses
from dashboard.masking import FieldMask
from dashboard.web.parts import Parts
from dashboard.web.problems import Problem
from dashboard.web.roles import refuse_hidden
from dashboard.web.sealing import Sealer

MAX_LIMIT: Final = 200
FILTERS: Final = frozenset(SELECTION_PARAMETERS)
LISTING_PARAMETERS: Final = FILTERS | {"sort"}
"""The query parameters of a listing: its filters and its order."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the list.

    Attributes:
        bodies: encoded JSON objects.
        next_cursor: the cursor of the next page. None on the last page.
        total: the number of transactions of the selection, if it is known without counting.
        as_of_seq: the event id after which the stream continues this page.
    """

    bodies: list[bytes]
    next_cursor: str | None
    total: int | None
    as_of_seq: str

    def items(self) -> list[dict[str, Any]]:
        """The decoded objects."""
        return [orjson.loads(body) for body in self.bodies]

    def as_json(self) -> bytes:
        """The API's response. The stored objects are not decoded."""
        tail = orjson.dumps(
            {"next_cursor": self.next_cursor, "total": self.total, "as_of_seq": self.as_of_seq}
        )
        return b'{"items":[' + b",".join(self.bodies) + b"]," + tail[1:]

    @property
    def etag(self) -> str:
        """Changes when the rows change, their cases included, and not with each tick."""
        digest = hashlib.blake2b(digest_size=12)
        for body in self.bodies:
            digest.update(body)
        digest.update(orjson.dumps([len(self.bodies), self.next_cursor, self.total]))
        return f'W/"{digest.hexdigest()}"'


def fetch_page(
    parts: Parts,
    listing: Listing,
    cursor: str | None,
    limit: int,
    after: str | None = None,
    *,
    mask: FieldMask,
) -> Page:
    """A page of a listing: its start, or what follows a cursor, or what follows a row.

    ``after`` is the id of that row, and ``mask`` what the user does not see.

    Raises:
        Problem: 400, the cursor is not valid or belongs to another listing; 410, the row is no
            longer stored.
    """
    # Taken before the rows are read, so that the stream may repeat a row but never miss one.
    as_of = parts.hub.event_id
    start = None
    if cursor:
        start = open_cursor(parts.sealer, listing, cursor)
    elif after:
        start = find_position(parts, after, "after")
    position, has_more, bodies = start, True, list[bytes]()
    while has_more and not bodies:  # of a page, all rows may have changed their status just now
        found = read_page(parts.table, listing, position, limit + 1)
        page, has_more = found[:limit], len(found) > limit
        position = page[-1].position if page else position
        bodies = encode_rows(parts, page, mask, listing)
    more = seal_cursor(parts.sealer, listing, position) if has_more and position else None
    total = len(bodies) if start is None and not has_more else None
    return Page(bodies, more, total, as_of)


def encode_rows(
    parts: Parts, rows: Sequence[StoredFlag], mask: FieldMask, listing: Listing | None = None
) -> list[bytes]:
    """The JSON objects of rows with their cases, as the API sends them to this user.

    Leaves out rows whose case has another status than ``listing`` selects: what waits in the
    outbox is known to the desk, and not to the tables.
    """
    cases = parts.desk.case_of([row.id for row in rows])
    selection = None if listing is None else listing.selection
    who = listing.statuses.who if listing and isinstance(listing.statuses, CaseStatuses) else None
    found = []
    for row in rows:
        case = cases[row.id]
        is_mine = case.by is not None and case.by == who
        if selection is None or selection.matches_status(case.status, is_mine=is_mine):
            found.append(add_member(mask.mask_flag(row.body), "case", orjson.dumps(case.as_json())))
    return found


def find_position(parts: Parts, flag_id: str, field: str) -> Position:
    """The place of a row of the list.

    Raises:
        Problem: 400, the id is not one; 410, the row is no longer stored.
    """
    wanted = canonical_id(parts, flag_id)
    if wanted is None:
        reason = f"must be the id of a flagged transaction, not {flag_id[:40]!r}"
        raise Problem(400, f"{field} {reason}", errors=[{"field": field, "reason": reason}])
    position = read_position(parts.table, wanted)
    if position is None:
        raise Problem(
            410,
            f"the flagged transaction {flag_id[:40]!r} is no longer in the list: the oldest ones "
            "are deleted. Start again at the top of the list",
            errors=[{"field": field, "reason": "no longer in the list"}],
        )
    return position


def canonical_id(parts: Parts, flag_id: str) -> str | None:
    """The id as it is stored. None if the text is not an id."""
    input_topic = parts.settings.input_topic
    where = parse_flag_id(flag_id, input_topic)
    return None if where is None else format_flag_id(*where, input_topic)


def seal_cursor(sealer: Sealer, listing: Listing, position: Position) -> str:
    """An opaque cursor that continues after ``position``, in this order and selection only.

    It is signed and not encrypted, so it has no loss in an order that does not need it.
    """
    if listing.sort is not Sort.EXPECTED_LOSS:
        position = position._replace(expected_loss=0.0)
    return sealer.seal(_purpose(listing), list(position))


def open_cursor(sealer: Sealer, listing: Listing, cursor: str) -> Position:
    """The place a cursor continues after.

    Raises:
        Problem: 400, the cursor is not valid for this listing.
    """
    position = sealer.unseal(_purpose(listing), cursor)
    if position is None:
        raise Problem(
            400,
            "the cursor is not valid for these filters and this order: use next_cursor with the "
            "same filters and sort, or start without a cursor",
            errors=[{"field": "cursor", "reason": "not valid for these filters and this order"}],
        )
    return Position(*position)


def forbid_unknown(request: Request, known: frozenset[str]) -> None:
    """Reject unknown and repeated query parameters instead of ignoring them.

    Raises:
        Problem: 400, with each such parameter.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    faults = [
        {"field": name, "reason": "unknown query parameter" if name not in known else "given twice"}
        for name in dict.fromkeys(names)
        if name not in known or names.count(name) > 1
    ]
    if faults:
        raise Problem(
            400,
            f"{faults[0]['reason']}: {faults[0]['field'][:40]!r} "
            f"(known: {', '.join(sorted(known))})",
            errors=faults,
        )


def read_listing(
    parts: Parts, query: Mapping[str, str], who: str | None = None, *, mask: FieldMask
) -> Listing:
    """The filters and the order in a query string. Empty parameters are ignored.

    ``who`` is the user, for ``status=mine``, and ``mask`` what this user does not see.

    Raises:
        Problem: 422, with each invalid parameter; 403, a filter or an order by what the user does
            not see.
    """
    refuse_hidden(mask, [name for name, text in query.items() if text.strip()])
    selection, faults = parse_selection(query)
    if selection.q is not None and mask:
        selection = replace(selection, q_without=mask.not_searched)
    sort, more = parse_sort(query)
    if faults or more:
        raise invalid([*faults, *more])
    if sort is Sort.EXPECTED_LOSS and mask.hides_losses:
        reason = "your role does not see amounts, and this order would reveal them"
        raise Problem(
            403,
            f"{reason}: use sort=newest or sort=oldest",
            kind="field-hidden",
            errors=[{"field": "sort", "reason": reason}],
        )
    return Listing(selection, parts.board.now(), sort, parts.desk.statuses(who))


def invalid(faults: Sequence[Mapping[str, str]]) -> Problem:
    """The problem of parameters that are not valid."""
    return Problem(422, f"invalid {faults[0]['field']}: {faults[0]['reason']}", errors=faults)


def listing_query(listing: Listing, **more: object) -> str:
    """The query string of a listing, without the default order."""
    sort = None if listing.sort is Sort.NEWEST else listing.sort.value
    return listing.selection.query(sort=sort, **more)


def _purpose(listing: Listing) -> str:
    return f"cursor?{listing.selection.query(sort=listing.sort.value)}"


def filters_of(query: Mapping[str, str]) -> dict[str, str]:
    """The filters in an address that the next transaction has to match. It is open in any case."""
    return {
        name: text
        for name in SELECTION_PARAMETERS
        if name != "status" and (text := query.get(name, "").strip())
    }


def with_filters(path: str, filters: Mapping[str, str]) -> str:
    """An address that passes the filters on, so that the way back leads to the same list."""
    return f"{path}?{urlencode(filters)}" if filters else path
