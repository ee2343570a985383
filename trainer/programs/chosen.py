"""The program of a run: a built-in one or a file, without some of its groups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream_scorer.features.builtin import builtin_programs
from stream_scorer.features.program import Program, ProgramError, parse_program

_MAX_FILE_BYTES: Final = 4_000_000
"""More than the longest program that is accepted, whatever its characters."""


@dataclass(frozen=True, slots=True)
class ChosenProgram:
    """A program and where it comes from.

    Attributes:
        program: what is computed, without the groups that are left out.
        file: the file, if it is no built-in program.
        sha256: the file's digest.
        left_out: the groups that are left out.
    """

    program: Program
    file: str | None = None
    sha256: str | None = None
    left_out: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """The program's name and origin, for the metadata."""
        return {
            "program": self.program.name,
            "file": self.file,
            "sha256": self.sha256,
            "left_out": list(self.left_out),
        }


def choose_program(name_or_file: str, without: Sequence[str] = ()) -> ChosenProgram:
    """The built-in program of this name, else that of a file, without some groups.

    Raises:
        ProgramError: there is neither, the file is not a program, or a group is unknown.
    """
    builtin = builtin_programs().get(name_or_file)
    left_out = tuple(sorted(set(without)))
    if builtin is None:
        program, digest = read_program_file(name_or_file)
        chosen = ChosenProgram(program, name_or_file, digest, left_out)
    else:
        chosen = ChosenProgram(builtin, left_out=left_out)
    if not left_out:
        return chosen
    rest = chosen.program.without(left_out)
    return ChosenProgram(rest, chosen.file, chosen.sha256, left_out)


def read_program_file(file: str) -> tuple[Program, str]:
    """The program of a file, and the file's SHA-256 in hexadecimal.

    Raises:
        ProgramError: it cannot be read, or is not a program; the message names file and line.
    """
    try:
        with Path(file).open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        known = ", ".join(sorted(builtin_programs()))
        raise ProgramError(
            f"there is no built-in program and no file {file!r}; the built-in programs are {known}"
        ) from None
    except (OSError, ValueError) as error:  # a name with a null byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise ProgramError(f"cannot read the program {file}: {reason}") from error
    if len(content) > _MAX_FILE_BYTES:
        raise ProgramError(f"{file}: larger than {_MAX_FILE_BYTES} bytes; this is not a program")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ProgramError(
            f"{file}, line {line}: byte 0x{content[error.start]:02x} is not valid UTF-8"
        ) from error
    return parse_program(text, file), hashlib.sha256(content).hexdigest()
