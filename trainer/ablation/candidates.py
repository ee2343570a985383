"""A program with candidates: their operations and their features of card history are added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stream_scorer.features.history.spec import MAX_SPACES, HistorySpec, KeySpace
from stream_scorer.features.program import Program, ProgramError, read_program
from trainer.programs.chosen import ChosenProgram


def join_candidates(program: Program, candidates: Sequence[ChosenProgram]) -> Program:
    """The program with all candidates.

    A candidate's key space with the name of one that is there adds features to it.

    Raises:
        ProgramError: a candidate has a group or a feature that is already there, or a key space of
            the same name with another key.
    """
    joined = program
    for chosen in candidates:
        added, name = chosen.program, chosen.file or chosen.program.name
        _check(joined, added, name)
        history = _join_history(joined.history, added.history, name)
        operations = joined.operations + added.operations
        joined = replace(joined, operations=operations, history=history)
    # Two programs that are within the limits may be beyond them together.
    return read_program(joined.plain()) if candidates else program


def _check(joined: Program, added: Program, name: str) -> None:
    if twice := sorted(set(joined.groups.values()) & set(added.groups.values())):
        raise ProgramError(
            f"--add {name}: the group {twice[0]} is already there; give the candidate's "
            "operations another group"
        )
    if twice := sorted(set(joined.names) & set(added.names)):
        raise ProgramError(
            f"--add {name}: the feature {twice[0]} is already there; give it another name "
            "with names, or leave it out"
        )


def _join_history(
    joined: HistorySpec | None, added: HistorySpec | None, name: str
) -> HistorySpec | None:
    if joined is None or added is None:
        return joined or added
    spaces = {space.name: space for space in joined.spaces}
    for space in added.spaces:
        known = spaces.get(space.name)
        spaces[space.name] = space if known is None else _join_space(known, space, name)
    if len(spaces) > MAX_SPACES:
        raise ProgramError(
            f"--add {name}: with its key spaces there are {len(spaces)}, and a program has at most "
            f"{MAX_SPACES}"
        )
    return HistorySpec(tuple(spaces.values()))


def _join_space(known: KeySpace, added: KeySpace, name: str) -> KeySpace:
    if replace(added, features=known.features) != known:
        raise ProgramError(
            f"--add {name}: the key space {known.name} is already there with another key, "
            "start_day, ttl_days or ring: give it another name, or the same fields"
        )
    return replace(known, features=known.features + added.features)
