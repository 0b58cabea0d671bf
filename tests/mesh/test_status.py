"""`vmesh status` and `vmesh services` tell the truth: every rpc is called and compared."""

import asyncio
import json

import grpc
import pytest
from google.protobuf.message_factory import GetMessageClass

from scrollintel.visual import VisualClient, exceptions
from scrollintel.visual.v1 import (
    assets_pb2,
    enhance_pb2,
    generation_pb2,
    models_pb2,
    prompt_pb2,
    quality_pb2,
    router_pb2,
    safety_pb2,
    usage_pb2,
)
from services.local.mesh import LocalMesh
from tests.mesh.terminal import vmesh

FILES = [
    assets_pb2,
    enhance_pb2,
    generation_pb2,
    models_pb2,
    prompt_pb2,
    quality_pb2,
    router_pb2,
    safety_pb2,
    usage_pb2,
]
SERVICES = {
    service.full_name: service for file in FILES for service in file.DESCRIPTOR.services_by_name.values()
}


async def answers_unimplemented(channel, method) -> bool:
    """Call an rpc with an empty request and return whether it is not served."""
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    request = GetMessageClass(method.input_type)()
    call = getattr(channel, shape)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    sent = call(iter([request]) if method.client_streaming else request, timeout=10)
    try:
        if method.server_streaming:
            await sent.read()
            sent.cancel()
        else:
            await sent
    except grpc.aio.AioRpcError as error:
        failure = exceptions.from_rpc(error, "")
    else:
        return False
    assert failure.reason, f"{method.full_name}: with our own reason, not gRPC's: {failure}"
    return failure.reason == "UNIMPLEMENTED"


async def test_every_rpc_answers_as_status_says(mesh: LocalMesh):
    code, out, err = await vmesh("status", "--json", home=mesh.home)
    assert code == 0, err
    told = json.loads(out)
    assert told["healthy"]
    assert set(told["servers"]) == set(mesh.servers)
    assert all(server["health"] == "serving" for server in told["servers"].values())
    assert told["triton"]["health"] == "serving"
    seen: set[str] = set()
    for name, server in told["servers"].items():
        unserved = set(server["unserved"])
        async with grpc.aio.insecure_channel(server["address"]) as channel:
            for full_name in server["services"]:
                seen.add(full_name)
                methods = SERVICES[full_name].methods
                answers = await asyncio.gather(
                    *(answers_unimplemented(channel, method) for method in methods)
                )
                really = {f"{full_name}/{m.name}" for m, no in zip(methods, answers, strict=True) if no}
                assert really == {rpc for rpc in unserved if rpc.startswith(full_name + "/")}, name
    assert seen == set(SERVICES), "every service of the contract is somewhere"


async def test_the_contract_and_status_agree_on_what_comes_later(mesh: LocalMesh):
    _, out, _ = await vmesh("status", "--json", home=mesh.home)
    unserved = json.loads(out)["unserved"]
    assert "CreateGeneration" in unserved["scrollintel.visual.v1.GenerationService"]
    assert "Generate" not in unserved["scrollintel.visual.v1.GenerationService"]
    assert set(unserved["scrollintel.visual.v1.UsageService"]) == {
        method.name for method in SERVICES["scrollintel.visual.v1.UsageService"].methods
    } - {"RecordFeedback"}


async def test_status_reads_well(mesh: LocalMesh):
    code, out, _ = await vmesh("status", home=mesh.home)
    assert code == 0
    for word in (*mesh.servers, "triton", "text_to_image_house", "UNIMPLEMENTED", "CreateGeneration"):
        assert word in out


async def test_services_are_listed_by_reflection(mesh: LocalMesh):
    code, out, _ = await vmesh("services", "--json", home=mesh.home)
    assert code == 0
    told = json.loads(out)
    listed = {(rpc["service"], rpc["rpc"], rpc["kind"]) for server in told.values() for rpc in server["rpcs"]}
    kinds = {(0, 0): "unary", (0, 1): "server stream", (1, 0): "client stream", (1, 1): "bidirectional"}
    assert listed == {
        (service.full_name, m.name, kinds[m.client_streaming, m.server_streaming])
        for service in SERVICES.values()
        for m in service.methods
    }
    code, out, _ = await vmesh("services", home=mesh.home)
    assert code == 0
    assert "EnhanceFrames" in out


async def test_models_and_backends_are_listed(client: VisualClient):
    models = {model.name: model for model in await client.models()}
    assert models["text_to_image_house"].state == "ready"
    assert models["text_to_image_house"].licence
    backends = {backend.name: backend for backend in await client.backends()}
    assert backends["triton/text_to_image_house"].state == "ready"


async def test_from_elsewhere_the_gateway_alone_is_seen(mesh: LocalMesh, tmp_path):
    code, out, _ = await vmesh("status", "--json", "--address", mesh.address, home=tmp_path)
    assert code == 0
    told = json.loads(out)
    assert list(told["servers"]) == ["gateway"]
    assert told["models"]["text_to_image_house"] == "ready"


@pytest.mark.parametrize("command", ["status", "services"])
async def test_without_a_mesh_they_say_so(command, tmp_path):
    code, _, err = await vmesh(command, home=tmp_path)
    assert code == 8
    assert "vmesh up" in err
