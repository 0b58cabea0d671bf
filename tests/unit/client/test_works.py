"""Protected works, by the client and by the command line."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health, health_pb2_grpc
from typer.testing import CliRunner

from scrollintel.visual import NotFoundError, ProtectedWork, VisualClient
from scrollintel.visual.cli.app import application
from scrollintel.visual.v1 import assets_pb2, safety_pb2
from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceServicer, add_AssetServiceServicer_to_server
from scrollintel.visual.v1.safety_pb2_grpc import SafetyServiceServicer, add_SafetyServiceServicer_to_server
from tests.unit.client.scripted import PNG, Script

MADE = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclass
class Registry(SafetyServiceServicer, AssetServiceServicer):
    """Keeps works by id and gives pages of one."""

    works: dict[str, str] = field(default_factory=dict)
    media: list[str] = field(default_factory=list)
    uploads: Script = field(default_factory=Script)
    deleted: list[str] = field(default_factory=list)
    most: int = 99

    async def UploadAsset(self, requests: AsyncIterator[Any], context: Any) -> Any:  # type: ignore[override]
        return await self.uploads.UploadAsset(requests, context)

    async def DeleteAsset(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.deleted.append(request.id)
        return assets_pb2.DeleteAssetResponse()

    async def RegisterProtectedWork(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        assert request.request_id
        if len(self.works) == self.most:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no room")
        self.media.append(request.media.sha256)
        name = f"w{len(self.works)}"
        self.works[name] = request.holder
        return safety_pb2.RegisterProtectedWorkResponse(id=name)

    async def ListProtectedWorks(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        at = int(request.page_token or 0)
        listed = list(self.works.items())
        page = safety_pb2.ListProtectedWorksResponse(
            next_page_token=str(at + 1) if at + 1 < len(listed) else ""
        )
        for name, holder in listed[at : at + 1]:
            page.works.add(id=name, holder=holder, created_at=Timestamp(seconds=int(MADE.timestamp())))
        return page

    async def RemoveProtectedWork(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        if self.works.pop(request.id, None) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such work")
        return safety_pb2.RemoveProtectedWorkResponse()


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_SafetyServiceServicer_to_server(registry, server)
    add_AssetServiceServicer_to_server(registry, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_a_picture_is_sent_for_the_call_and_every_page_of_works_is_read():
    registry = Registry()
    async with serving(registry) as address, VisualClient(address) as client:
        first = await client.protect(PNG, holder="a museum")
        await client.protect(PNG, holder="a gallery")
        works = await client.protected_works()
        await client.remove_protected_work(first)
        with pytest.raises(NotFoundError):
            await client.remove_protected_work(first)
    assert works == [ProtectedWork("w0", "a museum", MADE), ProtectedWork("w1", "a gallery", MADE)]
    assert registry.deleted == ["uploaded", "uploaded"]
    assert len(set(registry.media)) == 1
    assert list(registry.works) == ["w1"]


async def test_the_command_line_protects_lists_and_removes(tmp_path):
    file = tmp_path / "work.png"
    file.write_bytes(PNG)
    async with serving(Registry()) as address:

        async def vmesh(*arguments: str) -> tuple[int, str, str]:
            asked = [*arguments, "--address", address, "--home", str(tmp_path)]
            done = await asyncio.to_thread(CliRunner().invoke, application(), asked)
            return done.exit_code, done.stdout, done.stderr

        code, out, err = await vmesh("protect", str(file), "--holder", "[a] museum", "--json")
        assert (code, json.loads(out), err) == (0, {"works": [{"file": str(file), "id": "w0"}]}, "")
        assert await vmesh("works") == (0, "w0 2026-11-23 12:00 [a] museum\n", "")
        assert await vmesh("works", "remove", "w0") == (0, "", "removed w0\n")
        assert await vmesh("works") == (1, "no protected works\n", "")


async def test_what_was_protected_before_a_refusal_is_told_in_json_too(tmp_path):
    files = [tmp_path / name for name in ("one.png", "two.png")]
    for file in files:
        file.write_bytes(PNG)
    async with serving(Registry(most=1)) as address:
        options = ["--holder", "a museum", "--json", "--address", address, "--home", str(tmp_path)]
        done = await asyncio.to_thread(
            CliRunner().invoke, application(), ["protect", *map(str, files), *options]
        )
    told = json.loads(done.stdout)
    assert done.exit_code == 5
    assert told["works"] == [{"file": str(files[0]), "id": "w0"}]
    assert told["error"]["message"]
