"""Tells the router how pictures were judged, behind the generations' backs: what it learns, nobody waits for."""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc
import structlog

from scrollintel.visual.v1.router_pb2 import ReportOutcomeRequest
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceStub
from services.runtime.deadline import budget
from services.runtime.errors import MeshError, calling

if TYPE_CHECKING:  # a name of the stubs' types alone
    from scrollintel.visual.v1.router_pb2_grpc import RouterServiceAsyncStub

REPORT_SECONDS = 1.0
MOST_UNDER_WAY = 64  # more means that the router is away, and then the rest would be for nothing as well

log = structlog.get_logger()


class Reports:
    """Sends reports, each in a task of its own that ends within a second; an async context manager that leaves none.

    A report that does not arrive is lost: the router then knows one picture less.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._router: RouterServiceAsyncStub = RouterServiceStub(channel)
        self._under_way: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._under_way)
        if tasks:
            await asyncio.wait(tasks)  # each has its own end, a second away at most

    def send(self, request: ReportOutcomeRequest) -> None:
        """Start to send a report."""
        if len(self._under_way) >= MOST_UNDER_WAY:
            log.debug("outcome not reported", generation=request.request_id, reason="too many under way")
            return
        task = asyncio.create_task(self._send(request), name=f"report-{request.request_id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _send(self, request: ReportOutcomeRequest) -> None:
        try:
            with calling("the router"):
                await self._router.ReportOutcome(request, timeout=budget(REPORT_SECONDS))
        except MeshError as error:
            log.debug("outcome not reported", generation=request.request_id, reason=error.name)
