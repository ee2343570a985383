"""The writers of transactions: how the records of each schema are decoded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from schemas.avro.plan import DecodePlan, build_plan
from schemas.contracts import AvroSchema
from schemas.recent import RecentlyUsed
from schemas.resolver import SchemaKey, SchemaResolver, resolve_all
from schemas.transactions.reference import Reference, build_reference
from schemas.writer_schema import UnreadableSchema

Way = DecodePlan | Reference | UnreadableSchema
"""How records of one writer's schema are decoded: a plan, the reference decoder, or not at all."""

MAX_WRITERS: Final = 1000
"""Plans that are kept between batches, about 20 kB each; a topic has far fewer writers."""


class Writers:
    """Keeps the plans of the writers seen last, by the key that records have on the wire.

    A key never changes its schema, so only the plan is kept, and not the schema itself.
    """

    def __init__(self, resolver: SchemaResolver) -> None:
        self._resolver = resolver
        self._ways: RecentlyUsed[SchemaKey, Way] = RecentlyUsed(MAX_WRITERS)

    def __len__(self) -> int:
        return len(self._ways)

    def find(
        self, keys: Iterable[SchemaKey]
    ) -> tuple[Mapping[SchemaKey, Way], dict[int | bytes, str]]:
        """The way of each key, and why the others are unknown.

        Any error of the resolver other than an unknown schema propagates. What was found until
        then is kept.
        """
        found = {key: self._ways.get(key) for key in keys}
        new = [key for key, way in found.items() if way is None]
        unknown = resolve_all(self._resolver, new, self._plan) if new else {}
        ways = {key: way or self._ways.get(key) for key, way in found.items()}
        self._ways.trim()
        return {key: way for key, way in ways.items() if way is not None}, unknown

    def _plan(self, key: SchemaKey, schema: AvroSchema) -> None:
        # A refusal is kept too: planning again for each record is slow.
        self._ways.put(key, _way(schema))


def _way(schema: AvroSchema) -> Way:
    try:
        plan = build_plan(schema)
        return plan if isinstance(plan, DecodePlan) else build_reference(plan)
    except UnreadableSchema as error:
        return error.with_traceback(None)
