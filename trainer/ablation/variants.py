"""The variants of a program: whole, without each group, with each candidate, and raw columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from stream_scorer.errors import UsageError
from stream_scorer.features.builtin import load_builtin
from stream_scorer.features.program import Program, ProgramError
from trainer.programs.chosen import ChosenProgram
from trainer.programs.described import group_features

RAW_PROGRAM: Final = "raw/1"
"""The baseline of every figure."""

WHOLE: Final = "whole"
RAW: Final = "raw"
EVERYTHING: Final = "everything"
"""The whole program with all candidates."""


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
    """

    key: str
    program: Program
    columns: tuple[int, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A group, alone, and the two variants whose difference says what it is worth."""

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

    ``everything`` is None if there are no candidates.
    """

    whole: Variant
    raw: Variant
    everything: Variant | None
    judged: tuple[Judged, ...]

    def distinct(self) -> list[Variant]:
        """Each variant once; those of one program follow each other."""
        found = {self.raw.key: self.raw, self.whole.key: self.whole}
        if self.everything is not None:
            found[self.everything.key] = self.everything
        for judged in self.judged:
            for variant in (judged.with_it, judged.without_it):
                found[variant.key] = variant
        return list(found.values())


def plan_variants(
    program: Program, candidates: Sequence[ChosenProgram] = (), groups: Sequence[str] = ()
) -> Variants:
    """The variants for some groups, or for all of them.

    A group of the program is left out of the program. A candidate is added to the program alone,
    because two candidates that know the same would hide each other.

    Raises:
        ProgramError: a candidate has a group or a feature that is already there.
        UsageError: there is no such group, or no group can be judged.
    """
    full = _join(program, candidates)
    own, all_groups = group_features(program), group_features(full)
    for group in groups:
        if group not in all_groups:
            known = ", ".join(all_groups)
            raise UsageError(f"--groups: there is no group {group!r}; the groups are {known}")
    whole = _variant(WHOLE, full, own)
    raw_program = load_builtin(RAW_PROGRAM)
    return Variants(
        whole=whole,
        raw=_variant(RAW, raw_program, group_features(raw_program)),
        everything=_variant(EVERYTHING, full, all_groups) if candidates else None,
        judged=tuple(_judge(full, own, whole, groups or tuple(all_groups))),
    )


def _judge(
    full: Program, own: Collection[str], whole: Variant, groups: Sequence[str]
) -> Iterator[Judged]:
    if len(own) == 1 and set(groups) == set(own):
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


def _join(program: Program, candidates: Sequence[ChosenProgram]) -> Program:
    operations = list(program.operations)
    group_of, features = set(program.groups.values()), set(program.names)
    for chosen in candidates:
        added, name = chosen.program, chosen.file or chosen.program.name
        if twice := sorted(group_of & set(added.groups.values())):
            raise ProgramError(
                f"--add {name}: the group {twice[0]} is already there; give the candidate's "
                "operations another group"
            )
        if twice := sorted(features & set(added.names)):
            raise ProgramError(
                f"--add {name}: the feature {twice[0]} is already there; give it another name "
                "with names, or leave it out"
            )
        operations += added.operations
        group_of |= set(added.groups.values())
        features |= set(added.names)
    return replace(program, operations=tuple(operations))


def _variant(key: str, program: Program, groups: Collection[str]) -> Variant:
    columns = tuple(i for i, n in enumerate(program.names) if program.groups[n] in groups)
    computed = []
    for operation in program.operations:
        if operation.group in groups:
            fields = operation.plain()
            del fields["group"], fields["names"]  # they change nothing that a model sees
            computed.append(fields)
    digest = hashlib.sha256(json.dumps(computed, sort_keys=True).encode()).hexdigest()
    return Variant(key, program, columns, digest)
