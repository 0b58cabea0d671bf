"""ModelService: the catalogue and its states, with the real Triton, without one, and on a bare machine."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from scrollintel.visual.v1 import models_pb2 as pb
from scrollintel.visual.v1 import models_pb2_grpc
from services.local.triton import Triton
from services.models.catalogue import read_catalogue
from services.models.entry import Layout, OperatorSource
from services.models.presence import Presence
from services.models.service import spec
from services.models.settings import Settings
from services.models.state import State, state_of
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.models import Models
from services.runtime.server import serve
from tests import tiny_models

NOBODY = "127.0.0.1:1"
UPSCALER = read_catalogue()["upscale_realesrgan"]
MATCHER = read_catalogue()["image_text_matcher"]


@asynccontextmanager
async def model_server(
    home: Path, triton: str, **choices: Any
) -> AsyncIterator["models_pb2_grpc.ModelServiceAsyncStub"]:
    settings = Settings(home=home, triton_address=triton, **choices)
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        yield models_pb2_grpc.ModelServiceStub(channel)


async def listed(stub: "models_pb2_grpc.ModelServiceAsyncStub", size: int = 0) -> list[pb.Model]:
    models: list[pb.Model] = []
    token = ""
    while True:
        page = await stub.ListModels(pb.ListModelsRequest(page_size=size, page_token=token))
        assert size == 0 or len(page.models) <= size
        models += page.models
        token = page.next_page_token
        if not token:
            return models


async def test_what_triton_serves_is_ready(triton: Triton, tmp_path: Path) -> None:
    async with model_server(tmp_path, triton.grpc_address) as stub:
        model = (await stub.GetModel(pb.GetModelRequest(name="upscale_realesrgan"))).model
    assert model.state == pb.MODEL_STATE_READY
    assert (model.family, model.task, model.licence) == ("realesrgan", "upscale", "BSD-3-Clause")
    assert model.commercial_use
    assert model.memory_bytes > 1 << 20
    assert model.remedy == ""


async def test_a_bare_machine_is_told_what_to_do(tmp_path: Path) -> None:
    async with model_server(tmp_path, NOBODY) as stub:
        models = {model.name: model for model in await listed(stub)}
    assert set(models) == set(read_catalogue())
    upscaler = models["upscale_realesrgan"]
    assert upscaler.state == pb.MODEL_STATE_NOT_BUILT
    assert upscaler.remedy == "vmesh models build upscale_realesrgan"


async def test_pages_by_name_hold_every_model_once(tmp_path: Path) -> None:
    async with model_server(tmp_path, NOBODY) as stub:
        names = [model.name for model in await listed(stub, 2)]
    assert names == sorted(read_catalogue())


@pytest.mark.parametrize("token", ["*", "é", "%%%"])
async def test_a_false_page_token_is_refused(tmp_path: Path, token: str) -> None:
    async with model_server(tmp_path, NOBODY) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListModels(pb.ListModelsRequest(page_token=token))
    error = MeshError.from_rpc(caught.value, "models")
    assert (error.name, error.field) == ("FIELD_INVALID", "page_token")


async def test_a_name_that_is_not_in_the_catalogue_is_not_found(tmp_path: Path) -> None:
    async with model_server(tmp_path, NOBODY) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetModel(pb.GetModelRequest(name="no_such_model"))
    error = MeshError.from_rpc(caught.value, "models")
    assert error.name == "NOT_FOUND"
    assert "text_to_image_house" in error.message


async def refusal(call: Any) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return MeshError.from_rpc(caught.value, "models")


async def test_an_entry_that_this_machine_is_given_later_is_seen(tmp_path: Path) -> None:
    async with model_server(tmp_path, NOBODY) as stub:
        tiny_models.write(tmp_path, "later", memory_mib=7)
        model = (await stub.GetModel(pb.GetModelRequest(name="later"))).model
        assert (model.memory_bytes, model.residency) == (7 << 20, pb.MODEL_RESIDENCY_ON_DEMAND)
        tiny_models.write(tmp_path, "last")
        assert {"later", "last"} <= {each.name for each in await listed(stub)}


async def test_only_models_of_the_catalogue_are_loaded_unloaded_and_used(tmp_path: Path) -> None:
    async with model_server(tmp_path, NOBODY) as stub:
        for call in (
            stub.LoadModel(pb.LoadModelRequest(name="nobody")),
            stub.UnloadModel(pb.UnloadModelRequest(name="nobody")),
            stub.UseModel(iter([pb.UseModelRequest(name="nobody")])).read(),
        ):
            error = await refusal(call)
            assert (error.name, error.field) == ("NOT_FOUND", "name")


async def test_without_triton_a_loading_waits_for_it_and_then_says_so(tmp_path: Path) -> None:
    async with model_server(tmp_path, NOBODY, restart_seconds=0.3) as stub:
        error = await refusal(stub.LoadModel(pb.LoadModelRequest(name="text_embedding")))
        assert error.name == "MODEL_UNAVAILABLE"
        assert error.retry_after
        error = await refusal(stub.UnloadModel(pb.UnloadModelRequest(name="text_embedding")))
        assert (error.name, error.field) == ("FIELD_INVALID", "name"), "pinned"


async def test_what_is_loaded_is_leased_at_once_and_the_lease_is_counted(
    triton: Triton, tmp_path: Path
) -> None:
    async with model_server(tmp_path, triton.grpc_address) as stub:
        request = pb.LoadModelRequest(name="text_embedding")
        assert (await stub.LoadModel(request)).model.state == pb.MODEL_STATE_READY
        call = stub.UseModel()
        await call.write(pb.UseModelRequest(name="text_embedding"))
        assert (await call.read()).state == pb.MODEL_STATE_READY
        leased = (await stub.GetModel(pb.GetModelRequest(name="text_embedding"))).model
        assert (leased.leases, leased.residency) == (1, pb.MODEL_RESIDENCY_PINNED)
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert (await stub.GetModel(pb.GetModelRequest(name="text_embedding"))).model.leases == 0


async def test_what_triton_does_not_know_is_told_what_to_do(triton: Triton, tmp_path: Path) -> None:
    tiny_models.write(tmp_path, "elsewhere")
    async with model_server(tmp_path, triton.grpc_address) as stub:
        error = await refusal(stub.LoadModel(pb.LoadModelRequest(name="elsewhere")))
        assert (error.name, error.code) == ("MODEL_NEEDS_WEIGHTS", grpc.StatusCode.UNAVAILABLE)


async def test_where_triton_alone_decides_nothing_is_unloaded(triton: Triton, tmp_path: Path) -> None:
    async with model_server(tmp_path, triton.grpc_address, manage=False) as stub:
        error = await refusal(stub.UnloadModel(pb.UnloadModelRequest(name="text_embedding")))
        assert error.name == "UNIMPLEMENTED"
        assert (await stub.LoadModel(pb.LoadModelRequest(name="text_embedding"))).model.name


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [pb.UseModelRequest(failure="ERROR_REASON_OUT_OF_MEMORY")],
        [pb.UseModelRequest(name="text_embedding"), pb.UseModelRequest(name="text_embedding")],
        [pb.UseModelRequest()],
        [pb.UseModelRequest(name="text_embedding"), pb.UseModelRequest(failure="ERROR_REASON_UNSPECIFIED")],
    ],
    ids=["nothing", "a failure first", "two names", "an empty one", "no reason"],
)
async def test_requests_out_of_order_end_the_lease(
    triton: Triton, tmp_path: Path, requests: list[pb.UseModelRequest]
) -> None:
    async with model_server(tmp_path, triton.grpc_address) as stub:

        async def to_its_end() -> None:
            async for _ in stub.UseModel(iter(requests)):
                pass

        assert (await refusal(to_its_end())).name == "FIELD_INVALID"
        assert (await stub.GetModel(pb.GetModelRequest(name="text_embedding"))).model.leases == 0


async def test_a_lease_without_a_models_server_says_when_to_ask_again() -> None:
    async with connect(NOBODY) as channel:
        with pytest.raises(MeshError) as caught:
            async with Models(channel).use("text_embedding", timeout=5):
                pytest.fail("nobody gave the lease")
    assert caught.value.name == "DEPENDENCY_UNAVAILABLE"
    assert caught.value.retry_after


async def test_work_under_a_lease_goes_on_when_the_models_server_ends(triton: Triton, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, triton_address=triton.grpc_address, grace_seconds=0)
    done = []
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(spec(settings)))
        async with connect(server.address) as channel, Models(channel).use("text_embedding", timeout=5):
            await stack.aclose()
            done.append("work")
    assert done


BUILD_UPSCALER = "vmesh models build upscale_realesrgan"


@pytest.mark.parametrize(
    ("index", "here", "state", "remedy"),
    [
        ({"upscale_realesrgan": "READY"}, Presence(False, ("a.bin",)), State.READY, ""),
        ({"upscale_realesrgan": "UNAVAILABLE"}, Presence(True), State.LOADABLE, ""),
        ({}, Presence(True, ("a.bin",)), State.LOADABLE, ""),
        ({}, Presence(False), State.NOT_BUILT, BUILD_UPSCALER),
        ({}, Presence(False, ("a.bin",)), State.NOT_BUILT, BUILD_UPSCALER),
        ({"other": "READY"}, Presence(False, ("a.bin",)), State.NOT_BUILT, BUILD_UPSCALER),
    ],
)
def test_states(index: dict[str, str], here: Presence, state: State, remedy: str) -> None:
    assert state_of(UPSCALER, index, here) == (state, remedy)


def test_committed_weights_are_trained_not_fetched() -> None:
    state, remedy = state_of(MATCHER, {}, Presence(False, ("1/model.onnx",)))
    assert state is State.NEEDS_WEIGHTS
    assert "models/house" in remedy


def test_an_operators_weights_are_asked_for_with_where_they_are_published() -> None:
    source = OperatorSource(kind="operator", layout=Layout.DIFFUSERS, hub="maker/model")
    licence = UPSCALER.licence.model_copy(update={"commercial_use": False})
    model = UPSCALER.model_copy(update={"source": source, "licence": licence})
    state, remedy = state_of(model, {}, Presence(False, ("model_index.json",)))
    assert state is State.NEEDS_WEIGHTS
    assert remedy.startswith(f"{BUILD_UPSCALER} --allow-noncommercial --weights DIR ")
    assert "hf download maker/model --local-dir DIR" in remedy
