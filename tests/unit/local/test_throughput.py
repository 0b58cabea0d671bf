"""The batching bench's own parts: processor time of a process tree, a starving request, the table."""

import asyncio
import os
import subprocess
import sys
import time
from typing import Any, cast

import pytest
from rich.console import Console

from bench import throughput


def test_processor_time_is_that_of_all_below():
    before = throughput.processor_seconds(os.getpid())
    busy = "import time\nwhile time.process_time() < 30: pass"
    child = subprocess.Popen([sys.executable, "-c", busy])
    try:
        limit = time.monotonic() + 30
        while throughput.processor_seconds(os.getpid()) < before + 0.3:
            assert time.monotonic() < limit
            time.sleep(0.05)
    finally:
        child.kill()
        child.wait()


class Server:
    """Serves one request at a time, in order; a large one takes for ever."""

    name = "in order"

    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    async def large(self, seed: int) -> None:
        async with self.lock:
            await asyncio.sleep(3600)

    async def small(self, seed: int) -> None:
        async with self.lock:
            await asyncio.sleep(0)


async def test_a_request_that_starves_is_counted_with_what_it_waited(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(throughput, "GIVE_UP", 0.05)
    monkeypatch.setattr(throughput, "SETTLE", 0.01)
    contender = cast("Any", Server())
    rows = await throughput.fairness([contender], "w", lambda one: one.small, lambda one: one.large, 3)
    assert [(row["beside"], len(row["seconds"])) for row in rows] == [(0, 3), (1, 1), (2, 1)]
    assert all(seconds < 0.05 for seconds in rows[0]["seconds"])
    assert rows[1]["seconds"][0] >= 0.05


def test_the_table_sets_one_checkout_beside_the_other(capsys: pytest.CaptureFixture[str]):
    rows = [
        {"work": "w", "callers": 4, "checkout": name, "seconds": [0.1, 0.2], "per_second": rate}
        for name, rate in (("before", 2.0), ("after", 3.0))
    ]
    throughput.show(Console(width=160), "throughput", rows, "callers")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["w"]]
    assert line.split() == ["w", "4", "2", "100", "200", "3", "100", "200"]
