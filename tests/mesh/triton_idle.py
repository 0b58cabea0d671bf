"""Whether Triton works: by the processor time of its processes, which nothing can pretend."""

import asyncio
import os
import time
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
WINDOW = 0.4  # seconds
IDLE_SHARE = 0.2  # of one core; drawing takes more than one, waiting almost none
LIMIT = 10.0


def tree(pid: int) -> list[int]:
    """Return a process and everything below it."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def processor_seconds(pid: int) -> float:
    """Return the processor time that a process and everything below it has used so far."""
    total = 0
    for one in tree(pid):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


async def busy_share(pid: int) -> float:
    """Return how much of one core a process tree uses at the moment."""
    before, began = processor_seconds(pid), time.monotonic()
    await asyncio.sleep(WINDOW)
    return (processor_seconds(pid) - before) / (time.monotonic() - began)


async def seconds_until_idle(pid: int) -> float:
    """Wait until a process tree is idle and return how long that took; fails after ten seconds."""
    began = time.monotonic()
    while (share := await busy_share(pid)) > IDLE_SHARE:
        assert time.monotonic() - began < LIMIT, f"Triton still uses {share:.0%} of a core"
    return time.monotonic() - began - WINDOW
