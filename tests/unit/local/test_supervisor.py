"""The supervisor's own promises, over runs that a test plays; tests/mesh has those over the real server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.local.triton import Triton, TritonSettings
from services.local.triton import server as triton_server


class PlayedRun:
    """A server that ends at once, and whose first stop takes longer than anybody waits."""

    pid = 1

    def __init__(self) -> None:
        self.stops = 0
        self.stopping = asyncio.Event()
        self.stopped = False

    async def until_gone(self, _on_revival: Any) -> str:
        return "exited with status 1"

    async def stop(self) -> None:
        self.stops += 1
        self.stopping.set()
        if self.stops == 1:
            await asyncio.sleep(60)
        self.stopped = True


async def test_a_stop_that_leaving_cuts_short_is_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = PlayedRun()

    class Runs:
        @staticmethod
        async def start(*_: Any) -> PlayedRun:
            return run

    monkeypatch.setattr(triton_server, "Run", Runs)
    install: Any = None
    async with Triton(TritonSettings(tmp_path, tmp_path, install=install)) as triton:
        await asyncio.wait_for(run.stopping.wait(), 5)
        assert triton.pid is None
    assert run.stopped
