"""The router over the real Triton: pictures come out, and stopping, deadlines and a dying server are told truly."""

import asyncio
import os
import signal
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from router.service import spec
from router.settings import Settings
from scrollintel.visual.v1 import router_pb2, router_pb2_grpc, spec_pb2
from services.local.triton import Triton, TritonSettings
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.images import decode
from services.runtime.server import serve
from tests.contract.processor_time import processor_seconds
from tests.contract.scripted_mesh import NOWHERE

HOUSE = "triton/text_to_image_house"
READY, UNAVAILABLE = router_pb2.BACKEND_STATE_READY, router_pb2.BACKEND_STATE_UNAVAILABLE
IDLE = 0.2  # processor seconds in a second; drawing takes one or two


@dataclass
class Running:
    stub: "router_pb2_grpc.RouterServiceAsyncStub"
    blobs: BlobStore

    async def until(self, **wanted: int) -> None:
        """Watch until the house model's backend is as wanted."""
        watch = self.stub.WatchBackends(router_pb2.WatchBackendsRequest(), timeout=60)
        async for told in watch:
            if all(getattr(told.backend, key) == value for key, value in wanted.items()):
                watch.cancel()
                return


@asynccontextmanager
async def router_over(address: str, home: Path) -> AsyncIterator[Running]:
    settings = Settings(
        home=home, triton_address=address, models_address=NOWHERE, quality_address=NOWHERE, grace_seconds=0.2
    )
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        yield Running(router_pb2_grpc.RouterServiceStub(channel), BlobStore.open("", home))


@pytest_asyncio.fixture
async def router(triton: Triton, tmp_path: Path) -> AsyncIterator[Running]:
    async with router_over(triton.grpc_address, tmp_path) as running:
        yield running


def asked(previews: bool = False, **changes: object) -> router_pb2.ExecuteRequest:
    image = spec_pb2.ImageSpec(**({"prompt": "a red apple", "seed": 7} | changes))
    return router_pb2.ExecuteRequest(request_id="request-1", image=image, previews=previews)


async def collect(router: Running, request: router_pb2.ExecuteRequest, timeout: float = 60) -> list:
    return [event async for event in router.stub.Execute(request, timeout=timeout)]


async def kill_at(k: int, call: AsyncIterable[router_pb2.ExecuteResponse], pid: int) -> None:
    """Kill a process with SIGKILL when step k is told, and listen on."""
    async for event in call:
        if event.step.k == k:
            os.kill(pid, signal.SIGKILL)


async def to_rest(triton: Triton) -> None:
    """Wait for the step under way, then see that a second goes by without work."""
    for _ in range(8):
        before = processor_seconds(triton.pid or 0)
        await asyncio.sleep(1)
        if processor_seconds(triton.pid or 0) - before < IDLE:
            return
    pytest.fail("Triton goes on working")


async def test_words_become_pictures(router):
    events = await collect(router, asked(previews=True, num_images=2, steps=7))
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds == ["routed", *["step", "preview", "preview"] * 6, "step", "output", "output"]
    chosen = events[0].routed.chosen
    assert (chosen.backend, chosen.model) == (HOUSE, "text_to_image_house")
    assert chosen.predicted_time.ToTimedelta().total_seconds() > 0
    outputs = [event.output for event in events[-2:]]
    assert [(output.index, output.seed) for output in outputs] == [(0, 7), (1, 8)]
    pictures = [await decode(await router.blobs.get(output.media)) for output in outputs]
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 2
    assert (pictures[0] != pictures[1]).any()


async def test_a_seed_is_a_file(router):
    digests = [(await collect(router, asked(steps=4)))[-1].output.media.sha256 for _ in range(2)]
    assert digests[0] == digests[1]


async def test_a_client_that_cancels_brings_triton_to_rest(router, triton):
    call = router.stub.Execute(asked(steps=100, num_images=4), timeout=60)
    async for event in call:
        if event.step.k == 3:
            break
    call.cancel()
    await router.until(in_flight=0, state=READY)
    await to_rest(triton)


async def test_a_deadline_brings_triton_to_rest(router, triton):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(router, asked(steps=100, num_images=8), timeout=2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await router.until(in_flight=0, state=READY)
    await to_rest(triton)


@pytest.mark.timeout(180)
async def test_triton_dying_in_the_middle_fails_that_run_and_the_next_one_after_the_restart_works(
    model_repository: Path, tmp_path: Path
):
    settings = TritonSettings(tmp_path / "triton", model_repository)
    async with Triton(settings) as triton, router_over(triton.grpc_address, tmp_path) as router:
        await triton.wait_ready(60)
        await router.until(state=READY)
        call = router.stub.Execute(asked(steps=100), timeout=60)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await kill_at(3, call, triton.pid)
        error = MeshError.from_rpc(caught.value, "router")
        assert (error.code, str(error.family)) == (grpc.StatusCode.UNAVAILABLE, "MODEL_ERROR")
        assert error.name == "MODEL_UNAVAILABLE"
        assert error.retry_after > 0
        backends = (await router.stub.ListBackends(router_pb2.ListBackendsRequest())).backends
        (listed,) = [one for one in backends if not one.paid]
        assert listed.state == UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(router, asked())
        assert MeshError.from_rpc(caught.value, "router").name == "NO_BACKEND"
        await router.until(state=READY)
        assert (await collect(router, asked(steps=4)))[-1].HasField("output")
