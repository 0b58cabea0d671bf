"""The whole router with paid providers: what is bought is delivered and learned from, and is bought once."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from router.service import assemble, spec
from router.settings import Settings
from scrollintel.visual.v1 import errors_pb2, router_pb2, router_pb2_grpc, spec_pb2
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.server import serve
from tests.contract.providers.http_server import Answer
from tests.contract.providers.openai_server import GENERATIONS, UNSAFE, OpenAIServer
from tests.contract.providers.runway_server import RunwayServer, running
from tests.contract.providers.samples import KEY, PROMPT, mp4, png
from tests.contract.scripted_mesh import NOWHERE
from tests.contract.test_router import Running, execute, failing, kinds
from tests.unit.router.scripted import ScriptedBackend, entry

MODEL, CAREFUL = "gpt-image-2", "careful"


@pytest.fixture
def openai():
    with OpenAIServer(png(64)) as server:
        yield server


@pytest.fixture
def runway():
    with RunwayServer(mp4(), [running(0.5)]) as server:
        yield server


@pytest_asyncio.fixture
async def router(tmp_path: Path, openai: OpenAIServer, runway: RunwayServer) -> AsyncIterator[Running]:
    """One own backend, and the providers' file as it is, with two of the keys."""
    backends: dict[str, ScriptedBackend] = {}
    file = tmp_path / "backends.yaml"
    file.write_text(yaml.safe_dump({"backends": [entry("own").model_dump(mode="json")]}))
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text(yaml.safe_dump({"default": {}, "tenants": {CAREFUL: {"models": ["own", MODEL]}}}))
    settings = Settings(
        home=tmp_path,
        models_address=NOWHERE,
        quality_address=NOWHERE,
        backends_file=file,
        tenants_file=tenants,
        openai_api_key=KEY,
        openai_url=f"{openai.url}/v1",
        runway_api_key=KEY,
        runway_url=runway.url,
        probe_seconds=0.05,
        grace_seconds=0.2,
    )

    def adapt(one):
        return backends.setdefault(one.model, ScriptedBackend(one))

    scripted = replace(spec(settings), build=lambda given: assemble(given, adapt))
    async with serve(scripted) as server, connect(server.address) as channel:
        yield Running(router_pb2_grpc.RouterServiceStub(channel), backends, BlobStore.open("", tmp_path))


def bought(request_id: str = "request-1", **changes: object) -> router_pb2.ExecuteRequest:
    image = spec_pb2.ImageSpec(prompt=PROMPT, seed=7, **({"model_preference": MODEL} | changes))
    return router_pb2.ExecuteRequest(request_id=request_id, image=image)


async def test_a_picture_is_bought_once_however_often_its_request_comes(router, openai):
    first, again = await execute(router, bought()), await execute(router, bought())
    assert kinds(first) == ["routed", "output"]
    assert first[0].routed.chosen.predicted_cost_usd == pytest.approx(0.053)
    assert first[-1].output == again[-1].output
    assert not first[-1].output.HasField("seed"), "this model takes none"
    assert await router.blobs.get(first[-1].output.media) == png(64)
    assert openai.jobs == 1


async def test_two_tenants_requests_of_one_name_are_two(router, openai):
    await execute(router, bought())
    metadata = (("x-vmesh-tenant", "another"),)
    async for _ in router.stub.Execute(bought(), metadata=metadata, timeout=20):
        pass
    assert openai.jobs == 2


async def test_a_video_is_made_followed_and_stored(router, runway):
    video = spec_pb2.VideoSpec(prompt=PROMPT)
    events = await execute(router, router_pb2.ExecuteRequest(request_id="request-1", video=video))
    assert set(kinds(events)) == {"routed", "step", "output"}
    assert events[0].routed.chosen.backend.startswith("runway/")
    assert events[0].routed.chosen.predicted_cost_usd > 0
    media = events[-1].output.media
    assert (media.media_type, media.width, media.height, media.frames) == ("video/mp4", 32, 32, 4)
    assert await router.blobs.get(media) == mp4()
    assert runway.count("POST") == 1


async def test_who_has_no_money_gets_own_models_alone(router, openai):
    free = bought(model_preference="")
    free.max_cost_usd, free.objective = 0, spec_pb2.OBJECTIVE_QUALITY
    assert (await execute(router, free))[0].routed.chosen.backend == "triton/own"
    dear = bought()
    dear.max_cost_usd = 0.01
    error = await failing(execute(router, dear))
    assert (error.name, error.field) == ("FIELD_INVALID", "max_cost_usd")
    assert "$0.053" in error.message
    assert not openai.jobs


async def test_a_provider_that_is_full_is_told_of_and_another_goes_on(router, openai):
    full = Answer.of(
        {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, 429, retry_after="30"
    )
    openai.fault("POST", GENERATIONS, full)
    events = await execute_as_careful(router, best())
    assert events[0].routed.chosen.backend == f"openai/{MODEL}"
    assert kinds(events)[:2] == ["routed", "fallback"]
    assert kinds(events)[-1] == "output"
    assert getattr(events[1].fallback, "to") == "triton/own"  # noqa: B009 - beside `from`, which Python reserves
    assert "slow down" not in str(events)


async def test_what_its_content_policy_refuses_goes_nowhere_else(router, openai):
    openai.fault("POST", GENERATIONS, UNSAFE)
    error = await failing(execute_as_careful(router, best()))
    assert error.reason == errors_pb2.ERROR_REASON_PROMPT_UNSAFE
    assert not router.backends["own"].jobs


def best() -> router_pb2.ExecuteRequest:
    """A request for the best picture: the paid models are expected to be better than the own one."""
    request = bought(model_preference="")
    request.objective = spec_pb2.OBJECTIVE_QUALITY
    return request


async def execute_as_careful(router: Running, request: router_pb2.ExecuteRequest) -> list:
    """Execute for a tenant that may use the own model and one of the paid."""
    metadata = (("x-vmesh-tenant", CAREFUL),)
    return [event async for event in router.stub.Execute(request, metadata=metadata, timeout=20)]


async def test_paid_backends_are_listed_with_what_they_lack_and_when_they_end(router):
    answer = await router.stub.ListBackends(router_pb2.ListBackendsRequest())
    listed = {one.name: one for one in answer.backends}
    assert listed[f"openai/{MODEL}"].state == router_pb2.BACKEND_STATE_READY
    assert listed[f"openai/{MODEL}"].paid
    assert listed["openai/dall-e-3"].state == router_pb2.BACKEND_STATE_RETIRED
    assert listed["openai/dall-e-3"].retires_at.ToDatetime().date().isoformat() == "2026-05-12"
    assert listed["pika/pika-2.2"].state == router_pb2.BACKEND_STATE_NOT_CONFIGURED
    assert "VMESH_ROUTER_PIKA_API_KEY" in listed["pika/pika-2.2"].remedy
    assert not listed["triton/own"].paid
