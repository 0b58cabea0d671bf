"""The models server over a real Triton of its own with tiny models: leases to take, and processes to kill."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from scrollintel.visual.v1 import models_pb2, models_pb2_grpc
from services.local.triton import Triton, TritonSettings
from services.models.presence import served_repository
from services.models.service import spec
from services.models.settings import Settings
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.models import Models
from services.runtime.server import serve
from services.runtime.triton import TritonClient
from tests import tiny_models

if TYPE_CHECKING:
    from scrollintel.visual.v1.models_pb2_grpc import ModelServiceAsyncStub

READY_SECONDS = 40.0
PINNED = "keep"


@dataclass(frozen=True)
class Cached:
    """A models server, its Triton, and connections to both."""

    home: Path
    triton: Triton
    client: TritonClient
    models: Models
    stub: "ModelServiceAsyncStub"
    address: str

    async def pid(self, model: str, work: float = 0.0, allocate: int = 0) -> int:
        """Ask a tiny model and return the process that answered."""
        answer = await self.client.infer(model, tiny_models.feed(work, allocate), READY_SECONDS)
        return int(answer["pid"][0])

    async def use(self, model: str, work: float = 0.0, allocate: int = 0) -> int:
        """Ask a tiny model under a lease."""
        async with self.models.use(model, timeout=READY_SECONDS):
            return await self.pid(model, work, allocate)

    async def state(self, model: str) -> models_pb2.Model:
        return (await self.stub.GetModel(models_pb2.GetModelRequest(name=model))).model

    def loadings(self, model: str) -> int:
        return tiny_models.loadings(self.home, model)


@asynccontextmanager
async def cached(home: Path, **settings: object) -> AsyncIterator[Cached]:
    """Start a Triton on a home's models, the pinned one loaded, and a models server beside it."""
    async with AsyncExitStack() as stack:
        triton = await stack.enter_async_context(
            Triton(
                TritonSettings(
                    home, served_repository(home), (PINNED,), grace=1.0, backoff=0.05, probe_every=0.5
                )
            )
        )
        await triton.wait_ready(READY_SECONDS)
        given = {
            "home": home,
            "triton_address": triton.grpc_address,
            "triton_pid_file": triton.settings.pid_file,
            "poll_seconds": 0.5,
            **settings,
        }
        server = await stack.enter_async_context(serve(spec(Settings(**given))))
        channel = await stack.enter_async_context(connect(server.address))
        client = await stack.enter_async_context(TritonClient(triton.grpc_address))
        stub = models_pb2_grpc.ModelServiceStub(channel)
        yield Cached(home, triton, client, Models(channel), stub, server.address)


async def eventually(holds: Callable[[], Awaitable[bool]], within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not await holds():
            await asyncio.sleep(0.05)


async def patient(work: Callable[[], Awaitable[int]], within: float = 30.0) -> int:
    """Ask again as the errors advise, until it works."""
    async with asyncio.timeout(within):
        while True:
            try:
                return await work()
            except MeshError as error:
                if error.retry_after is None:
                    raise
                await asyncio.sleep(min(error.retry_after, 0.5))


def failure_of(error: grpc.aio.AioRpcError) -> MeshError:
    return MeshError.from_rpc(error, "the models server")
