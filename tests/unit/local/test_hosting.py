"""Servers in one process: started side by side, ended in reverse, and one that fails takes the others along."""

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from scrollintel.visual import running
from scrollintel.visual.v1 import usage_pb2, usage_pb2_grpc
from services.local.hosting import Hosted
from services.local.servers import _enter_all, free_or_any
from services.runtime.server import ServerSpec
from services.runtime.settings import ServerSettings, env


class Settings(ServerSettings):
    model_config = env("hosted")


def spec(name: str, said: list[str], tmp_path, *, fails: bool = False, hangs: bool = False) -> ServerSpec:
    @asynccontextmanager
    async def build(_):
        async with asyncio.timeout(60):  # must be entered and left in one task
            said.append(f"{name} starts")
            try:
                await asyncio.sleep(30 if hangs else 0.05)
                if fails:
                    raise RuntimeError(f"{name} cannot start")
                yield usage_pb2_grpc.UsageServiceServicer()
            finally:
                said.append(f"{name} ends")

    return ServerSpec(
        name,
        Settings(home=tmp_path),
        [usage_pb2.DESCRIPTOR.services_by_name["UsageService"]],
        build,
        usage_pb2_grpc.add_UsageServiceServicer_to_server,
    )


async def test_they_start_side_by_side_and_end_in_reverse(tmp_path):
    said: list[str] = []
    async with AsyncExitStack() as stack:
        hosts = [Hosted(spec(name, said, tmp_path)) for name in ("one", "two")]
        await _enter_all(stack, hosts)
        assert said == ["one starts", "two starts"]
        assert all([await running.health(host.address) for host in hosts])
    assert said[2:] == ["two ends", "one ends"]
    assert [await running.health(host.address, timeout=0.5) for host in hosts] == [None, None]


async def test_one_that_fails_ends_the_others_and_says_why(tmp_path):
    said: list[str] = []
    with pytest.raises(RuntimeError, match="two cannot start"):
        async with AsyncExitStack() as stack:
            await _enter_all(
                stack, [Hosted(spec("one", said, tmp_path)), Hosted(spec("two", said, tmp_path, fails=True))]
            )
    assert said[-1] == "one ends"


async def test_starting_can_be_cancelled(tmp_path):
    said: list[str] = []
    starting = asyncio.create_task(Hosted(spec("one", said, tmp_path)).__aenter__())
    await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert said[-1] == "one ends"


async def test_one_that_never_starts_is_given_up_and_the_others_end(tmp_path):
    said: list[str] = []
    began = asyncio.get_running_loop().time()

    async def start():
        async with AsyncExitStack() as stack, asyncio.timeout(1.5):
            hosts = [Hosted(spec("one", said, tmp_path)), Hosted(spec("two", said, tmp_path, hangs=True))]
            await _enter_all(stack, hosts)

    with pytest.raises(TimeoutError):
        await start()
    assert asyncio.get_running_loop().time() - began < 20
    assert sorted(said) == ["one ends", "one starts", "two ends", "two starts"]


def test_a_port_that_is_taken_is_replaced():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_or_any(f"127.0.0.1:{port}") == "127.0.0.1:0"
    assert free_or_any(f"127.0.0.1:{port}") == f"127.0.0.1:{port}"
