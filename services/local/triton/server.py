"""The supervised Triton: one state, one owner.

    async with Triton(TritonSettings(home, repository)) as triton:
        await triton.wait_ready(30)
        channel = grpc.aio.insecure_channel(triton.grpc_address)

Entering starts the server and returns at once. If the first start fails, the state is FAILED and
`wait_ready` tells why. After that, whenever the server dies or stops answering, it is started again on
the same ports with growing pauses. Leaving stops it.
"""

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from services.local.triton.health import is_live, is_ready
from services.local.triton.install import TritonInstall, environment, find_install, stage_backends
from services.local.triton.launch import LOOPBACK, Ports, build_command, free_ports
from services.local.triton.process import GuardedProcess, SpawnError

PORT_RACES = 5  # how often another process may take a port between our choice and the server's bind
PORT_TAKEN = ("already in use", "Address already in use", "failed to bind")
READY_POLL_S = 0.05
TAIL_LINES = 25


class TritonState(StrEnum):
    """STARTING -> READY <-> RESTARTING; STOPPED by its owner; FAILED when it gave up."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    FAILED = "failed"


class TritonUnavailable(Exception):
    """The server is not ready; the text says why and ends with the tail of its log."""


@dataclass(frozen=True)
class TritonSettings:
    """Seconds unless named otherwise.

    `home` holds the log (`logs/triton.log`) and the staged backend; `repository` is what is served.
    A restart pauses `backoff`, then twice that, and so on up to `backoff_max`; `stable` of being ready
    starts over. `give_up` failed restarts in a row end in FAILED.
    """

    home: Path
    repository: Path
    start_timeout: float = 60.0
    grace: float = 5.0
    backoff: float = 0.5
    backoff_max: float = 30.0
    stable: float = 30.0
    give_up: int = 10
    probe_every: float = 2.0
    probe_timeout: float = 5.0
    probe_failures: int = 3
    log_max_bytes: int = 4 << 20
    install: TritonInstall = field(default_factory=find_install)

    @property
    def log(self) -> Path:
        """The server's log; the part before the last rotation is `triton.log.1`."""
        return self.home / "logs" / "triton.log"


class Triton:
    """A Triton server, kept running between `__aenter__` and `__aexit__`. Not reusable."""

    def __init__(self, settings: TritonSettings) -> None:
        self.settings = settings
        self.restarts = 0
        self._state = TritonState.STARTING
        self._reason = ""
        self._changed = asyncio.Event()
        self._observers: list[Callable[[TritonState], None]] = []
        self._ports = free_ports()
        self._id = ""
        self._process: GuardedProcess | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> TritonState:
        """What the server is doing now."""
        return self._state

    @property
    def reason(self) -> str:
        """Why the server last left READY or failed; empty when it never did."""
        return self._reason

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def grpc_address(self) -> str:
        """host:port of gRPC; final once ready, and the same after every restart."""
        return f"{LOOPBACK}:{self._ports.grpc}"

    @property
    def http_address(self) -> str:
        """host:port of HTTP; final once ready, and the same after every restart."""
        return f"{LOOPBACK}:{self._ports.http}"

    @property
    def metrics_address(self) -> str:
        """host:port of Prometheus metrics (`/metrics`); final once ready."""
        return f"{LOOPBACK}:{self._ports.metrics}"

    def observe(self, callback: Callable[[TritonState], None]) -> Callable[[], None]:
        """Call back, on the event loop, at every change of state; returns how to stop that."""
        self._observers.append(callback)
        return lambda: self._observers.remove(callback)

    async def wait_ready(self, timeout: float) -> None:
        """Wait until READY. Raises TritonUnavailable after `timeout` seconds, or at once in FAILED or STOPPED."""
        try:
            async with asyncio.timeout(timeout):
                while self._state is not TritonState.READY:
                    if self._state in (TritonState.FAILED, TritonState.STOPPED):
                        raise TritonUnavailable(f"Triton is {self._state}: {self._reason}")
                    await self._changed.wait()
        except TimeoutError as error:
            raise TritonUnavailable(
                f"Triton was not ready after {timeout:g} s ({self._state}). {self._reason}\n{self._tail()}"
            ) from error

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._supervise(), name="triton-supervisor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._end_process()
        self._set(TritonState.STOPPED, self._reason)

    async def _supervise(self) -> None:
        try:
            await self._start_first()
            await self._keep_running()
        except Exception as error:  # whatever it was, nobody watches the server any more: say so
            await self._end_process()
            self._set(TritonState.FAILED, str(error) or repr(error))

    async def _start_first(self) -> None:
        for attempt in range(PORT_RACES):
            try:
                return await self._start()
            except TritonUnavailable as error:
                if attempt == PORT_RACES - 1 or not any(text in str(error) for text in PORT_TAKEN):
                    raise
                self._ports = free_ports()

    async def _keep_running(self) -> None:
        """Restart for as long as that works. Raises TritonUnavailable when it gives up."""
        failures = 0
        while True:
            since = time.monotonic()
            reason = await self._until_gone()
            failures = 0 if time.monotonic() - since >= self.settings.stable else failures
            while True:
                self._set(TritonState.RESTARTING, reason)
                await asyncio.sleep(min(self.settings.backoff * 2**failures, self.settings.backoff_max))
                failures += 1
                try:
                    await self._start()
                except (TritonUnavailable, SpawnError) as error:
                    reason = str(error)
                    if failures >= self.settings.give_up:
                        raise TritonUnavailable(f"gave up after {failures} restarts in a row: {reason}") from error
                else:
                    self.restarts += 1
                    break

    async def _start(self) -> None:
        """Start the server and wait until it is ready. Raises TritonUnavailable or SpawnError."""
        settings = self.settings
        self._id = f"vmesh-{secrets.token_hex(6)}"
        backends = await asyncio.to_thread(stage_backends, settings.install, settings.home)
        command = build_command(
            settings.install.binary, backends, settings.repository, self._ports,
            server_id=self._id, shm_prefix=self._id, exit_timeout_s=max(int(settings.grace), 1),
        )  # fmt: skip
        self._process = await GuardedProcess.start(
            command, environment(settings.install), settings.log, settings.log_max_bytes, settings.grace, self._id
        )
        try:
            await self._until_ready(self._process)
        except BaseException:
            await self._end_process()
            raise
        self._set(TritonState.READY, self._reason)

    async def _until_ready(self, process: GuardedProcess) -> None:
        exited = asyncio.create_task(process.wait())
        try:
            async with asyncio.timeout(self.settings.start_timeout):
                while not await is_ready(self._ports.http, self._id, self.settings.probe_timeout):
                    if exited.done():
                        raise TritonUnavailable(f"exited with status {exited.result()} while starting\n{self._tail()}")
                    await asyncio.wait([exited], timeout=READY_POLL_S)
        except TimeoutError as error:
            message = f"not ready {self.settings.start_timeout:g} s after its start\n{self._tail()}"
            raise TritonUnavailable(message) from error
        finally:
            exited.cancel()

    async def _until_gone(self) -> str:
        """Return why the server has to be started again: it ended, or it no longer answers."""
        assert self._process is not None
        exited, misses = asyncio.create_task(self._process.wait()), 0
        try:
            while True:
                await asyncio.wait([exited], timeout=self.settings.probe_every)
                if exited.done():
                    return f"exited with status {exited.result()}"
                live = await is_live(self._ports.http, self.settings.probe_timeout)
                misses = 0 if live else misses + 1
                if misses >= self.settings.probe_failures:
                    return f"did not answer {misses} probes in a row"
        finally:
            exited.cancel()
            await self._end_process()

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process:
            await process.stop()

    def _set(self, state: TritonState, reason: str) -> None:
        self._reason = reason
        if state is self._state:
            return
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for callback in list(self._observers):
            callback(state)

    def _tail(self) -> str:
        """The errors that this run of the server logged, else the log's last lines."""
        with contextlib.suppress(OSError):
            lines = self.settings.log.read_bytes().decode(errors="replace").splitlines()
            own_error = re.compile(rf"E\d{{4}} \S+ {self.pid} ")
            lines = [line.replace("\\n", "\n") for line in lines if own_error.match(line)] or lines
            return "\n".join([f"--- from {self.settings.log} ---", *lines[-TAIL_LINES:]])
        return ""
