"""The supervisor's own promises, over runs that a test plays; tests/mesh has those over the real server."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from services.local.triton import Triton, TritonSettings
from services.local.triton import server as triton_server
from services.local.triton.process import GuardedProcess, SpawnError


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
        await asyncio.wait_for(run.stopping.wait(), 20)
        assert triton.pid is None
    assert run.stopped


async def test_a_command_that_ends_before_it_is_killed_says_why_it_could_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended:
        """A guard that has told of its fault and is gone."""

        def __init__(self) -> None:
            self.stdout = asyncio.StreamReader()
            self.stdout.feed_data(b"Traceback\nno such file\n")
            self.stdout.feed_eof()

        def kill(self) -> None:
            raise ProcessLookupError

        async def wait(self) -> int:
            return 1

    async def started(*_: Any, **__: Any) -> Ended:
        return Ended()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    with pytest.raises(SpawnError, match="no such file"):
        await GuardedProcess.start(["absent"], {}, tmp_path / "log", 1, 1.0, "vmesh-test")
