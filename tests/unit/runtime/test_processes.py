"""Processes that are no children of this one are ended as well, also those that do not want to."""

from __future__ import annotations

import subprocess

import pytest

from stream_scorer.runtime.processes import end_process

STUBBORN = "trap '' TERM; echo ready; exec tail -f /dev/null"


def orphan(script: str) -> int:
    """The number of a process whose parent is another one, which collects its exit status."""
    command = ["/bin/sh", "-c", 'sh -c "$0" & echo $!; wait', script]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    lines = {parent.stdout.readline().strip(), parent.stdout.readline().strip()}
    PARENTS.append(parent)
    return int(next(line for line in lines if line != "ready"))


PARENTS: list[subprocess.Popen[str]] = []


@pytest.mark.parametrize("script", ["echo ready; exec tail -f /dev/null", STUBBORN])
def test_process_of_another_parent_is_ended(script: str) -> None:
    number = orphan(script)
    end_process(number, 0.3)
    parent = PARENTS.pop()
    assert parent.wait(90) == 0  # it waited for the process, which has ended
    assert parent.stdout is not None
    parent.stdout.close()
    with pytest.raises(ProcessLookupError):
        end_process(number)
