"""One run of the server: from its start until it has to be started again."""

import asyncio
import contextlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Self

import structlog

from services.local.triton import health
from services.local.triton.install import environment, stage_backends
from services.local.triton.launch import Ports, build_command
from services.local.triton.process import GuardedProcess
from services.local.triton.settings import TritonSettings
from services.local.triton.workers import models_short_of_workers
from services.runtime.workers import Workers, find_workers

READY_POLL_S = 0.05
THREADS = 'key: "concurrency"'  # the parameter of a model that answers from threads of its own: how many at one time
TAIL_LINES = 25
CODE = "*/model.py"  # what a model has that runs in workers

log = structlog.get_logger()


class StartError(Exception):
    """The server did not become ready; the text ends with what it logged."""


class Run:
    """A started server. Owned by whoever started it, who must `stop` it."""

    def __init__(
        self, settings: TritonSettings, ports: Ports, server_id: str, process: GuardedProcess
    ) -> None:
        self.pid = process.pid
        self._settings = settings
        self._http = ports.http
        self._id = server_id
        self._process = process
        self._exited = asyncio.create_task(process.wait())
        self._workers: Workers = {}

    @classmethod
    async def start(cls, settings: TritonSettings, ports: Ports) -> Self:
        """Start the server and wait until it is ready. Raises StartError, and SpawnError when it cannot run at all."""
        server_id = f"vmesh-{secrets.token_hex(6)}"
        backends = await asyncio.to_thread(stage_backends, settings.install, settings.home)
        command = build_command(
            settings.install.binary,
            backends,
            settings.repository,
            settings.start_set(),
            ports,
            server_id=server_id,
            shm_prefix=server_id,
            exit_timeout_s=max(int(settings.grace), 1),
        )
        process = await GuardedProcess.start(
            command,
            environment(settings.install),
            settings.log,
            settings.log_max_bytes,
            settings.grace,
            server_id,
        )
        run = cls(settings, ports, server_id, process)
        try:
            await asyncio.to_thread(_write_pid, settings.pid_file, run.pid)
            await run._until_ready()
            run._workers = await asyncio.to_thread(find_workers, run.pid)
        except BaseException:
            await run.stop()
            raise
        return run

    async def until_gone(self, on_revival: Callable[[str], None]) -> str:
        """Return why the server has to be started again: it ended, or it no longer answers.

        A model whose workers died is loaded again meanwhile, and `on_revival` told its name. One that answers from
        threads of its own is a reason to start again: Triton never ends the requests that such a worker was answering,
        and whoever sent them would wait until their deadline (seen with 2.51, in streams and in single answers).
        """
        settings, misses = self._settings, 0
        while True:
            await asyncio.wait([self._exited], timeout=settings.probe_every)
            if self._exited.done():
                return f"exited with status {self._exited.result()}"
            live = await health.is_live(self._http, settings.probe_timeout)
            misses = 0 if live else misses + 1
            if misses >= settings.probe_failures:
                return f"did not answer {misses} probes in a row"
            before = self._workers
            short = await self._short_of_workers(before)
            if short:  # a model that just came or goes looks the same: a second look tells
                short &= await self._short_of_workers(before)
            if orphaning := await asyncio.to_thread(self._with_threads, short):
                return f"{', '.join(sorted(orphaning))} lost a worker that was answering from threads"
            await self._revive_models(short, before, on_revival)

    async def stop(self) -> None:
        """Stop the server within the grace; idempotent."""
        await self._process.stop()
        await asyncio.wait(
            [self._exited]
        )  # not awaited by itself: whoever stops waiting would cancel it for all
        await asyncio.to_thread(self._settings.pid_file.unlink, missing_ok=True)

    async def _until_ready(self) -> None:
        settings = self._settings
        try:
            async with asyncio.timeout(settings.start_timeout):
                while not await health.is_ready(self._http, self._id, settings.probe_timeout):
                    if self._exited.done():
                        status = self._exited.result()
                        raise StartError(f"exited with status {status} while starting\n{self._errors()}")
                    await asyncio.wait([self._exited], timeout=READY_POLL_S)
        except TimeoutError as error:
            message = f"not ready {settings.start_timeout:g} s after its start\n{self._errors()}"
            raise StartError(message) from error

    async def _revive_models(
        self, short: set[str], before: Workers, on_revival: Callable[[str], None]
    ) -> None:
        """Load anew each model that lost a worker since the last look and was not unloaded on purpose."""
        settings, missed = self._settings, set[str]()
        for model in short:
            revived = await health.load_model_anew(self._http, model, settings.start_timeout)
            log.warning("a model lost a worker", model=model, loaded_again=revived)
            if revived:
                on_revival(model)
            else:
                missed.add(model)
        # What could not be loaded stays missed, so that the next look tries again.
        lost = {pid: model for pid, model in before.items() if model in missed}
        self._workers = lost | await asyncio.to_thread(find_workers, self.pid)

    async def _short_of_workers(self, before: Workers) -> set[str]:
        """Loaded models with fewer workers than before, or with none, whenever they came."""
        loaded = await health.loaded_models(self._http, self._settings.probe_timeout)
        self._workers = await asyncio.to_thread(find_workers, self.pid)
        code = await asyncio.to_thread(self._with_code, loaded)
        return loaded & models_short_of_workers(before, self._workers) | code - set(self._workers.values())

    def _with_code(self, models: set[str]) -> set[str]:
        return {model for model in models if any((self._settings.repository / model).glob(CODE))}

    def _with_threads(self, models: set[str]) -> set[str]:
        configs = {model: self._settings.repository / model / "config.pbtxt" for model in models}
        return {model for model, path in configs.items() if path.is_file() and THREADS in path.read_text()}

    def _errors(self) -> str:
        """The errors that this run logged, else the log's last lines."""
        with contextlib.suppress(OSError):
            lines = self._settings.log.read_bytes().decode(errors="replace").splitlines()
            own_error = re.compile(rf"E\d{{4}} \S+ {self.pid} ")
            lines = [line.replace("\\n", "\n") for line in lines if own_error.match(line)] or lines
            return "\n".join([f"--- from {self._settings.log} ---", *lines[-TAIL_LINES:]])
        return ""


def _write_pid(file: Path, pid: int) -> None:
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(f"{pid}\n")
    fresh.replace(file)
