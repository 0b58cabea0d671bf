"""Exports for callers of the model server: one at a time, in a child process, ended when the caller goes.

A process, because exporters take many times a model's memory and give it back only by ending, and because native
builders cannot be interrupted in any other way.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Collection
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from services.models.build import BuildStatus
from services.runtime.errors import MeshError

# A pipeline of tens of gigabytes for a GPU that is here; what takes longer hangs.
LONGEST_S = 6 * 3600.0
# To let go of what it holds; what it leaves half made the next build sweeps away.
END_S = 5.0
RETRY_S = 60.0
LINE_LIMIT = 1 << 20

REASONS: dict[str, ErrorReason.ValueType] = {
    BuildStatus.NEEDS_WEIGHTS: errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS,
    BuildStatus.REFUSED: errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE,
    BuildStatus.FAILED: errors_pb2.ERROR_REASON_MODEL_FAILED,
}

log = structlog.get_logger()


@dataclass(frozen=True)
class Stage:
    """What an export is doing; `progress` in [0, 1] is the share of components that are finished."""

    message: str
    progress: float


class Exporter:
    """Exports into `home`; `allowed` names models whose licence need not allow commercial use."""

    def __init__(self, home: Path, allowed: Collection[str]) -> None:
        self._home = home
        self._allowed = sorted(allowed)
        self._running = ""

    async def export(self, name: str, target: str) -> AsyncGenerator[Stage]:
        """Export one model to `onnx` or `tensorrt` and tell each stage; the last one has progress 1.

        Closing the generator ends the export. Raises MeshError: OVERLOADED while another one runs,
        MODEL_NEEDS_WEIGHTS, MODEL_UNAVAILABLE (its licence), MODEL_FAILED with the exporter's own words.
        """
        if self._running:
            message = f"{self._running} is being exported, and one is exported at a time: try again later"
            raise MeshError(errors_pb2.ERROR_REASON_OVERLOADED, message, retry_after=RETRY_S)
        self._running = name
        try:
            async with aclosing(
                self._child(name, target)
            ) as stages:  # its process has ended before another begins
                async for stage in stages:
                    yield stage
        finally:
            self._running = ""

    async def _child(self, name: str, target: str) -> AsyncGenerator[Stage]:
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "services.models.export_process"]
        command += [name, target, str(self._home), str(writing), *self._allowed]
        try:
            process = await asyncio.create_subprocess_exec(
                *command, pass_fds=[writing], stdin=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        finally:
            os.close(writing)
        lines = asyncio.StreamReader(limit=LINE_LIMIT)
        loop = asyncio.get_running_loop()
        pipe, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(reading, "rb")
        )
        progress = 0.0
        deadline = loop.time() + LONGEST_S
        try:
            while line := await _before(deadline, lines.readline(), name):
                told = json.loads(line)
                if "failed" in told:
                    raise MeshError(REASONS[told["reason"]], told["failed"])
                if "done" in told:
                    yield Stage(told["done"], 1.0)
                    return
                progress = told.get("progress", progress)
                yield Stage(told["message"], progress)
            raise MeshError(
                errors_pb2.ERROR_REASON_MODEL_FAILED,
                f"{name}: the exporting process ended with code {await process.wait()} and no result",
            )
        finally:
            pipe.close()
            await _end(process, name)


async def _before(deadline: float, line: Awaitable[bytes], name: str) -> bytes:
    try:
        async with asyncio.timeout_at(deadline):
            return await line
    except TimeoutError:
        message = f"{name}: not exported within {LONGEST_S / 3600:.0f} hours; it was ended"
        raise MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, message) from None


async def _end(process: asyncio.subprocess.Process, name: str) -> None:
    """End a child and its children, whatever it is doing."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError) as error:
        log.warning("an export did not end by itself", model=name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if isinstance(error, asyncio.CancelledError):
            raise
        await process.wait()
