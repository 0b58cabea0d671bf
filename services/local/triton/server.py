"""The supervised Triton: one state, one owner.

    async with Triton(TritonSettings(home, repository)) as triton:
        await triton.wait_ready(30)
        channel = grpc.aio.insecure_channel(triton.grpc_address)

Entering starts the server and returns at once. If the first start fails, the state is FAILED and
`wait_ready` tells why. After that, whenever the server dies or stops answering, it is started again on
the same ports with growing pauses. Leaving stops it.

That it dies is to be expected: 2.51 has a race between the cancelling and the ending of a stream (a crash
in ModelStreamInferHandler::Process, once in some thousand hostile requests), and no newer server is in a wheel.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import NoReturn, Self

import structlog

from services.local.triton.launch import LOOPBACK, free_ports
from services.local.triton.process import SpawnError
from services.local.triton.run import Run, StartError
from services.local.triton.settings import TritonSettings

PORT_RACES = 5  # how often another process may take a port between our choice and the server's bind
PORT_TAKEN = ("already in use", "failed to bind")

log = structlog.get_logger()


class TritonState(StrEnum):
    """STARTING -> READY <-> RESTARTING; STOPPED by its owner; FAILED when it gave up."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"
    FAILED = "failed"


class TritonUnavailableError(Exception):
    """The server is not ready; the text says why, with what it logged."""


class Triton:
    """A Triton server, kept running between `__aenter__` and `__aexit__`. Not reusable.

    `restarts` counts the server's restarts, `revivals` the models loaded again because a worker died.
    """

    def __init__(self, settings: TritonSettings) -> None:
        self.settings = settings
        self.restarts = 0
        self.revivals = 0
        self._state = TritonState.STARTING
        self._reason = ""
        self._changed = asyncio.Event()
        self._observers: list[Callable[[TritonState], None]] = []
        self._ports = free_ports()
        self._run: Run | None = None
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
        """The server's process id while it is ready."""
        return self._run.pid if self._run and self._state is TritonState.READY else None

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
        """host:port of Prometheus metrics (`/metrics`); final once ready, and the same after every restart."""
        return f"{LOOPBACK}:{self._ports.metrics}"

    def observe(self, callback: Callable[[TritonState], None]) -> Callable[[], None]:
        """Call back, on the event loop, at every change of state; returns how to stop that."""
        self._observers.append(callback)
        return lambda: self._observers.remove(callback)

    async def wait_ready(self, timeout: float) -> None:
        """Wait until READY.

        Raises TritonUnavailableError after `timeout` seconds, or at once in FAILED or STOPPED.
        """
        try:
            async with asyncio.timeout(timeout):
                while self._state is not TritonState.READY:
                    if self._state in (TritonState.FAILED, TritonState.STOPPED):
                        raise TritonUnavailableError(f"Triton is {self._state}: {self._reason}")
                    await self._changed.wait()
        except TimeoutError as error:
            message = f"Triton is still {self._state} after {timeout:g} s; its log is {self.settings.log}"
            raise TritonUnavailableError(message) from error

    async def until_failed(self) -> NoReturn:
        """Wait for as long as the server is kept running. Raises TritonUnavailableError when that is given up."""
        while self._state is not TritonState.FAILED:
            await self._changed.wait()
        raise TritonUnavailableError(f"Triton is {self._state}: {self._reason}")

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
        await self._stop_run()
        self._set(TritonState.STOPPED, self._reason)

    async def _supervise(self) -> None:
        try:
            self._run = await self._start_first()
            await self._keep_running()
        except Exception as error:  # whatever it was, nobody watches the server any more: say so
            await self._stop_run()
            self._set(TritonState.FAILED, str(error) or repr(error))

    async def _start_first(self) -> Run:
        for _ in range(PORT_RACES - 1):
            try:
                return await Run.start(self.settings, self._ports)
            except StartError as error:
                if not any(text in str(error) for text in PORT_TAKEN):
                    raise
                self._ports = free_ports()
        return await Run.start(self.settings, self._ports)

    async def _keep_running(self) -> None:
        """Restart for as long as that works. Raises StartError when it gives up."""
        failures = 0
        while True:
            assert self._run is not None
            self._set(TritonState.READY, self._reason)
            since = time.monotonic()
            reason = await self._run.until_gone(self._count_revival)
            failures = 0 if time.monotonic() - since >= self.settings.stable else failures
            self._set(TritonState.RESTARTING, reason)
            log.warning("triton is restarted", reason=reason)
            await self._stop_run()
            while self._run is None:
                await asyncio.sleep(min(self.settings.backoff * 2**failures, self.settings.backoff_max))
                failures += 1
                try:
                    self._run = await Run.start(self.settings, self._ports)
                except (StartError, SpawnError) as error:
                    self._reason = str(error)
                    if failures >= self.settings.give_up:
                        message = f"gave up after {failures} restarts in a row: {self._reason}"
                        raise StartError(message) from error
            self.restarts += 1

    def _count_revival(self, model: str) -> None:
        self.revivals += 1

    async def _stop_run(self) -> None:
        if self._run:
            await self._run.stop()
            self._run = None  # only now: a stop that is cut short is taken up again on leaving

    def _set(self, state: TritonState, reason: str) -> None:
        self._reason = reason
        if state is self._state:
            return
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for callback in list(self._observers):
            try:
                callback(state)
            except Exception:  # an observer's fault is not the server's
                log.exception("an observer of triton failed", state=state)
