"""A child process on a leash: the guard beside this file starts it, keeps its log and leaves nothing of it."""

import asyncio
import contextlib
import sys
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
SPAWN_TIMEOUT_S = 10.0
STOP_MARGIN_S = 3.0


class SpawnError(Exception):
    """The command could not be started at all."""


class GuardedProcess:
    """A running command. Owned by whoever started it, who must `stop` it."""

    def __init__(self, guard: asyncio.subprocess.Process, pid: int, grace_s: float) -> None:
        self._guard = guard
        self._grace_s = grace_s
        self.pid = pid

    @classmethod
    async def start(
        cls,
        command: list[str],
        env: dict[str, str],
        log: Path,
        log_max_bytes: int,
        grace_s: float,
        shm_prefix: str,
    ) -> "GuardedProcess":
        """Start the command. Raises SpawnError."""
        options = [str(log), str(log_max_bytes), str(grace_s), shm_prefix]
        guard = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(GUARD), *options, *command,
            stdin=asyncio.subprocess.PIPE,  # the leash: the guard ends when this closes
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=env,
            start_new_session=True,  # Ctrl-C reaches the mesh alone, which drains before it stops this
        )  # fmt: skip
        assert guard.stdout is not None
        try:
            line = (
                (await asyncio.wait_for(guard.stdout.readline(), SPAWN_TIMEOUT_S))
                .decode(errors="replace")
                .strip()
            )
            if not line.isdigit():
                rest = (await asyncio.wait_for(guard.stdout.read(), SPAWN_TIMEOUT_S)).decode(errors="replace")
                raise SpawnError(
                    f"{command[0]} could not be started: {(line + rest).strip().splitlines()[-1:]}"
                )
        except BaseException as error:
            with contextlib.suppress(
                ProcessLookupError
            ):  # it may have ended by itself, and that is known already
                guard.kill()
            await guard.wait()
            if isinstance(error, TimeoutError):
                raise SpawnError(f"{command[0]} was not started within {SPAWN_TIMEOUT_S:g} s") from error
            raise
        return cls(guard, int(line), grace_s)

    async def wait(self) -> int:
        """The command's exit status, once it and all its descendants are gone (128 + n: killed by signal n)."""
        return await self._guard.wait()

    async def stop(self) -> int:
        """Ask the command to end, kill it after the grace; returns its exit status."""
        if self._guard.returncode is None:
            self._guard.terminate()
        try:
            return await asyncio.wait_for(self._guard.wait(), self._grace_s + STOP_MARGIN_S)
        except TimeoutError:
            self._guard.kill()  # the kernel then kills the command
            return await self._guard.wait()
