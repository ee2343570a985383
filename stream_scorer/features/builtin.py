"""The programs that come with the code: files in ``programs``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

from stream_scorer.features.program import Program, ProgramError, parse_program

IEEE_CIS: Final = "ieee-cis/1"
"""The features of every bundle that was published before features were data."""


@cache
def builtin_programs() -> dict[str, Program]:
    """Every built-in program by its name."""
    folder = files("stream_scorer.features") / "programs"
    texts = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(".toml")}
    programs = [
        parse_program(texts[name].read_text(encoding="utf-8"), name) for name in sorted(texts)
    ]
    return {program.name: program for program in programs}


def load_builtin(name: str) -> Program:
    """A built-in program.

    Raises:
        ProgramError: there is no such program.
    """
    programs = builtin_programs()
    if name not in programs:
        raise ProgramError(f"there is no built-in program {name!r}; there are {sorted(programs)}")
    return programs[name]
