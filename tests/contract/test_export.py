"""ExportModel: stages of an export in a process of its own, its ends, and its end with its caller."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from scrollintel.visual.v1 import models_pb2 as pb
from scrollintel.visual.v1 import models_pb2_grpc
from services.models import export
from services.models.build import Site, build_one
from services.models.catalogue import read_catalogue, write_entry
from services.models.order import Order
from services.models.service import spec
from services.models.settings import Settings
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve

COMMITTED = "image_text_matcher"  # its weights are in the repository: nothing has to be fetched


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator["models_pb2_grpc.ModelServiceAsyncStub"]:
    settings = Settings(home=tmp_path, triton_address="127.0.0.1:1", manage=False)
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        yield models_pb2_grpc.ModelServiceStub(channel)


def exporting(home: Path) -> list[int]:
    """Ids of the processes that export into `home`."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:  # gone meanwhile
            continue
        if b"services.models.export_process" in words and str(home).encode() in words:
            found.append(int(process.parent.name))
    return found


async def run(
    stub: "models_pb2_grpc.ModelServiceAsyncStub", name: str, target: str
) -> list[pb.ExportModelResponse]:
    return [
        each async for each in stub.ExportModel(pb.ExportModelRequest(name=name, target=target), timeout=100)
    ]


async def refusal(stub: "models_pb2_grpc.ModelServiceAsyncStub", name: str, target: str) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(stub, name, target)
    return MeshError.from_rpc(caught.value, "models")


async def run_unless_busy(
    stub: "models_pb2_grpc.ModelServiceAsyncStub",
) -> list[pb.ExportModelResponse] | None:
    try:
        return await run(stub, COMMITTED, "onnx")
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return None
        raise


async def test_tells_the_stages_and_makes_the_model(
    stub: "models_pb2_grpc.ModelServiceAsyncStub", tmp_path: Path
) -> None:
    stages = await run(stub, COMMITTED, "onnx")
    assert "converting and checking" in [each.message for each in stages]
    assert [each.progress for each in stages][-1] == 1
    assert all(each.progress < 1 for each in stages[:-1])
    assert stages[-1].message == "built"
    assert (tmp_path / "model_repository" / COMMITTED / "1" / "model.onnx").is_file()
    assert [each.message for each in await run(stub, COMMITTED, "onnx")][-1] == "unchanged"
    assert exporting(tmp_path) == []

    error = await refusal(stub, COMMITTED, "tensorrt")
    assert (error.name, error.code) == ("MODEL_FAILED", grpc.StatusCode.UNAVAILABLE)
    assert error.message.startswith("there is no GPU here to build for")


@pytest.mark.parametrize(
    ("name", "reason", "code", "words"),
    [
        ("nobody", "NOT_FOUND", grpc.StatusCode.NOT_FOUND, "there is no model 'nobody'"),
        (
            "face_restoration_gfpgan",
            "MODEL_NEEDS_WEIGHTS",
            grpc.StatusCode.UNAVAILABLE,
            "vmesh models build face_restoration_gfpgan --weights",
        ),
        (
            "face_restoration_codeformer",
            "MODEL_UNAVAILABLE",
            grpc.StatusCode.UNAVAILABLE,
            "forbids commercial use",
        ),
    ],
)
async def test_ends_with_the_reason(
    stub: "models_pb2_grpc.ModelServiceAsyncStub", name: str, reason: str, code: grpc.StatusCode, words: str
) -> None:
    error = await refusal(stub, name, "onnx")
    assert (error.name, error.code) == (reason, code)
    assert words in error.message


async def test_what_was_built_by_leave_of_its_operator_stays_in_service(
    stub: "models_pb2_grpc.ModelServiceAsyncStub", tmp_path: Path
) -> None:
    entry = read_catalogue()[COMMITTED]
    licence = entry.licence.model_copy(update={"commercial_use": False})
    write_entry(entry.model_copy(update={"name": "theirs", "licence": licence}), tmp_path)
    assert (await refusal(stub, "theirs", "onnx")).name == "MODEL_UNAVAILABLE"
    assert build_one("theirs", Order(), Site(tmp_path, allow_noncommercial=True)).served
    assert (await run(stub, "theirs", "onnx"))[-1].message == "unchanged"
    assert (tmp_path / "model_repository" / "theirs").exists()


async def test_one_at_a_time_and_no_longer_than_its_caller(
    stub: "models_pb2_grpc.ModelServiceAsyncStub", tmp_path: Path
) -> None:
    first = stub.ExportModel(pb.ExportModelRequest(name=COMMITTED, target="onnx"), timeout=100)
    assert (await first.read()).message
    assert len(exporting(tmp_path)) == 1
    error = await refusal(stub, "nsfw_open_nsfw", "onnx")
    assert (error.name, error.code) == ("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED)
    assert COMMITTED in error.message
    assert error.retry_after == export.RETRY_S

    first.cancel()
    async with asyncio.timeout(export.END_S + 10):
        while exporting(tmp_path):
            await asyncio.sleep(0.05)
    assert not (tmp_path / "model_repository" / COMMITTED).exists()
    # And another may begin, which sweeps away what was left.
    async with asyncio.timeout(60):
        while (stages := await run_unless_busy(stub)) is None:
            await asyncio.sleep(0.05)
    assert stages[-1].message == "built"
    assert not list((tmp_path / "builds").glob("*/.making-*"))


async def test_a_process_that_dies_is_told(
    stub: "models_pb2_grpc.ModelServiceAsyncStub", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export.sys, "executable", "/bin/false")
    error = await refusal(stub, COMMITTED, "onnx")
    assert (error.name, error.message) == (
        "MODEL_FAILED",
        f"{COMMITTED}: the exporting process ended with code 1 and no result",
    )
    assert exporting(tmp_path) == []
