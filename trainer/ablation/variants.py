"""The variants of a program: whole, without each group, with each candidate, and raw columns.

A program with card history is judged without each key space, too, without all of them, and with
each alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stream_scorer.errors import UsageError
from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.history.spec import HistorySpec
from stream_scorer.features.program import Program
from trainer.ablation.candidates import join_candidates
from trainer.programs.chosen import ChosenProgram
from trainer.programs.described import group_features

RAW_PROGRAM: Final = "raw/1"
"""The baseline of every figure."""

WHOLE: Final = "whole"
RAW: Final = "raw"
EVERYTHING: Final = "everything"
"""The whole program with all candidates."""

STATELESS: Final = "without card history"
HISTORY: Final = "history:"
"""Before the name of a key space, where groups are named; no group has a colon in its name."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Some features of a program that is computed once.

    A feature depends on its own operation only. So leaving out columns of the matrix is the same
    as leaving out operations.

    Attributes:
        key: what it is, such as ``whole`` or ``without:card``.
        program: the program whose matrix it takes columns of.
        columns: these columns, ascending.
        digest: of the operations and columns; equal variants give equal results.
        operations: the program's operations that they are of, by their place.
        history: the part of the program's card history that they are of; None for none.
    """

    key: str
    program: Program
    columns: tuple[int, ...]
    digest: str
    operations: tuple[int, ...]
    history: HistorySpec | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A group or key space, alone, and the two variants whose difference says what it is worth."""

    group: str
    alone: Variant
    with_it: Variant
    without_it: Variant

    @property
    def is_candidate(self) -> bool:
        """Whether the group is not one of the program's own."""
        return self.without_it.key == WHOLE


@dataclass(frozen=True, slots=True)
class Variants:
    """All variants of an ablation.

    ``everything`` is None if there are no candidates. ``stateless`` is the whole program without
    card history, and ``alone`` has it with one key space; None and empty if it has no history.
    """

    whole: Variant
    raw: Variant
    everything: Variant | None
    judged: tuple[Judged, ...]
    stateless: Variant | None = None
    alone: Mapping[str, Variant] = field(default_factory=dict)

    def distinct(self) -> list[Variant]:
        """Each variant once; those of one program follow each other."""
        found = {self.raw.key: self.raw, self.whole.key: self.whole}
        for other in (self.everything, self.stateless, *self.alone.values()):
            if other is not None:
                found[other.key] = other
        for judged in self.judged:
            for variant in (judged.with_it, judged.without_it):
                found[variant.key] = variant
        return list(found.values())


def plan_variants(
    program: Program, candidates: Sequence[ChosenProgram] = (), groups: Sequence[str] = ()
) -> Variants:
    """The variants for some groups, or for all of them.

    A group of the program is left out of the program. A candidate is added to the program alone,
    because two candidates that know the same would hide each other. ``groups`` can name key spaces
    of the program too, as ``history:client``.

    Raises:
        ProgramError: a candidate has a group or a feature that is already there.
        UsageError: there is no such group, or no group can be judged.
    """
    full = join_candidates(program, candidates)
    own, all_groups = group_features(program), group_features(full)
    spaces = [] if program.history is None else [space.name for space in program.history.spaces]
    known = (*all_groups, *(HISTORY + space for space in spaces))
    for group in groups:
        if group not in known:
            listed = ", ".join(known)
            raise UsageError(f"--groups: there is no group {group!r}; the groups are {listed}")
    whole = _variant(WHOLE, full, own)
    raw_program = load_builtin(RAW_PROGRAM)
    of_spaces = {space: _variant(f"with:{HISTORY}{space}", full, own, [space]) for space in spaces}
    return Variants(
        whole=whole,
        raw=_variant(RAW, raw_program, group_features(raw_program)),
        everything=_variant(EVERYTHING, full, all_groups) if candidates else None,
        judged=(
            *_judge(full, own, whole, [g for g in groups or all_groups if g in all_groups]),
            *_judge_spaces(full, own, whole, spaces, groups),
        ),
        stateless=_variant(STATELESS, full, own, []) if spaces else None,
        alone=of_spaces if len(spaces) > 1 else {},
    )


def _judge_spaces(
    full: Program,
    own: Collection[str],
    whole: Variant,
    spaces: Sequence[str],
    groups: Sequence[str],
) -> Iterator[Judged]:
    """Each key space left out, with whatever group its features are in."""
    for space in spaces:
        name = HISTORY + space
        if name in groups or not groups:
            alone = _variant(f"only:{name}", full, own, [space], has_operations=False)
            rest = [other for other in spaces if other != space]
            yield Judged(name, alone, whole, _variant(f"without:{name}", full, own, rest))


def _judge(
    full: Program, own: Collection[str], whole: Variant, groups: Sequence[str]
) -> Iterator[Judged]:
    if len(own) == 1 and set(groups) == set(own) and full.history is None:
        raise UsageError(
            f"program {full.name} has only the group {groups[0]}: nothing would be left without "
            "it; give its operations different groups"
        )
    for group in groups:
        alone = _variant(f"only:{group}", full, [group])
        if group not in own:
            yield Judged(group, alone, _variant(f"with:{group}", full, [*own, group]), whole)
        elif len(own) > 1:
            rest = [other for other in own if other != group]
            yield Judged(group, alone, whole, _variant(f"without:{group}", full, rest))


def _variant(
    key: str,
    program: Program,
    groups: Collection[str],
    spaces: Collection[str] | None = None,
    *,
    has_operations: bool = True,
) -> Variant:
    """The features of some groups; those of card history only of these key spaces (None: all)."""
    operations = [
        i for i, o in enumerate(program.operations) if has_operations and o.group in groups
    ]
    history = _some_history(program.history, groups, spaces)
    kept = {name for i in operations for name in program.operations[i].names}
    kept |= set(() if history is None else history.names)
    columns = tuple(i for i, name in enumerate(program.names) if name in kept)
    computed = [_bare(program.operations[i].plain(), "names") for i in operations]
    if history is not None:
        for space in history.plain():
            features = [_bare(features) for features in space["features"]]
            computed.append(_bare(space | {"features": features}, "space"))
    digest = hashlib.sha256(json.dumps(computed, sort_keys=True).encode()).hexdigest()
    return Variant(key, program, columns, digest, tuple(operations), history)


def _bare(plain: dict[str, Any], *names: str) -> dict[str, Any]:
    """Without what changes nothing that a model sees: the group, and names."""
    return {name: value for name, value in plain.items() if name not in ("group", *names)}


def _some_history(
    spec: HistorySpec | None, groups: Collection[str], spaces: Collection[str] | None
) -> HistorySpec | None:
    """A feature depends on its own key space only, so that the rest need not be computed."""
    found = []
    for space in () if spec is None else spec.spaces:
        kept = tuple(features for features in space.features if features.group in groups)
        if kept and (spaces is None or space.name in spaces):
            found.append(replace(space, features=kept))
    return HistorySpec(tuple(found)) if found else None
