"""Memory that is not used goes back to the system, and what is needed again comes back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from llvmlite import binding  # type: ignore[import-untyped]

from dashboard.memory import code_of, limit_arenas, return_unused_memory

MAPS = """\
7f01000000-7f02000000 r--p 00000000 fd:00 1234   /env/llvmlite/binding/libllvmlite.so
7f02000000-7f05000000 r-xp 01000000 fd:00 1234   /env/llvmlite/binding/libllvmlite.so
7f05000000-7f06000000 rw-p 04000000 fd:00 1234   /env/llvmlite/binding/libllvmlite.so
7f06000000-7f07000000 r-xp 00000000 fd:00 1235   /env/libllvmlite/other.so
7f07000000-7f08000000 r-xp 00000000 00:00 0
not a line of this file
"""
_ENTRY = re.compile(r"[0-9a-f]+-[0-9a-f]+ (\S+) .*?(/\S+)?$")


def resident_code() -> int:
    """Kilobytes of the compiler's code in memory."""
    total, is_code = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if (entry := _ENTRY.match(line)) and ":" not in line.split()[0]:
            is_code = entry[1] == "r-xp" and "libllvmlite" in (entry[2] or "")
        elif is_code and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_code_is_found_and_data_is_left_alone() -> None:
    assert code_of("libllvmlite", MAPS.splitlines()) == [(0x7F02000000, 0x7F05000000)]
    assert code_of("libllvmlite", ["", "\x00"]) == []


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_code_of_the_compiler_leaves_memory_and_still_runs() -> None:
    limit_arenas()
    binding.parse_assembly("define i32 @one() { ret i32 1 }").verify()
    before = resident_code()
    return_unused_memory()
    after = resident_code()
    assert before > 1000
    assert after < before / 2
    module = binding.parse_assembly("define i32 @two() { ret i32 2 }")
    module.verify()
    assert [function.name for function in module.functions] == ["two"]


def test_system_without_these_files_is_no_error(tmp_path: Path) -> None:
    return_unused_memory(tmp_path / "maps")
