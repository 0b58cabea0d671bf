"""The runtime's contract with every caller: errors, rules, deadlines, identity, health, reflection, drain."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from scrollintel.visual.v1 import errors_pb2, prompt_pb2, prompt_pb2_grpc
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from scrollintel.visual.v1.safety_finding_pb2 import SafetyFinding
from services.runtime import deadline, identity, telemetry
from services.runtime.channels import SERVER_OPTIONS, STREAM_SECONDS, connect
from services.runtime.errors import TABLE, MeshError, calling
from services.runtime.server import RunningServer, ServerSpec, serve
from services.runtime.settings import ServerSettings, env

SERVICE = prompt_pb2.DESCRIPTOR.services_by_name["PromptService"]
ROUNDED = 1.01
LATE = 20.0  # seconds: what has not come by then does not come
SECRET = "/etc/secret traceback"


class Settings(ServerSettings):
    model_config = env("prompt")


class Servicer(prompt_pb2_grpc.PromptServiceServicer):
    """Answers by what the prompt says."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.held = 0
        self.release = asyncio.Event()

    async def AnalyzePrompt(self, request, context):
        match request.prompt.split(":"):
            case ["bug"]:
                raise RuntimeError(SECRET)
            case ["reason", name]:
                raise MeshError(ErrorReason.Value(name), "said", field="spec.image.width", retry_after=1.5)
            case ["slow"]:
                try:
                    await asyncio.sleep(30)
                finally:
                    self.cancelled.set()
            case ["held"]:
                self.held += 1
                await self.release.wait()
            case ["left"]:
                return answer(str(deadline.remaining()))
            case ["who"]:
                return answer(identity.current().tenant)
            case ["trace"]:
                return answer(telemetry.trace_id())
        return prompt_pb2.AnalyzePromptResponse()


def answer(text: str) -> prompt_pb2.AnalyzePromptResponse:
    return prompt_pb2.AnalyzePromptResponse(analysis=prompt_pb2.PromptAnalysis(subject=text))


@asynccontextmanager
async def running(**settings) -> AsyncIterator[tuple[RunningServer, grpc.aio.Channel, Servicer]]:
    servicer = Servicer()

    @asynccontextmanager
    async def build(_settings):
        yield servicer

    spec = ServerSpec(
        "prompt", Settings(**settings), [SERVICE], build, prompt_pb2_grpc.add_PromptServiceServicer_to_server
    )
    async with serve(spec) as server, connect(server.address) as channel:
        yield server, channel, servicer


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LATE):
        while not holds():
            await asyncio.sleep(0.01)


async def until_refused(channel: grpc.aio.Channel) -> None:
    async with asyncio.timeout(LATE):
        with contextlib.suppress(MeshError):
            while True:
                await analyze(channel, "left")


async def analyze(channel: grpc.aio.Channel, prompt: str, **options) -> str:
    options.setdefault("timeout", LATE)
    stub = prompt_pb2_grpc.PromptServiceStub(channel)
    with calling("prompt"):
        response = await stub.AnalyzePrompt(prompt_pb2.AnalyzePromptRequest(prompt=prompt), **options)
    return response.analysis.subject


@pytest.mark.parametrize("reason", sorted(TABLE))
async def test_every_reason_reaches_the_caller_with_its_code_and_details(reason):
    name = ErrorReason.Name(reason)
    async with running() as (_, channel, _servicer):
        stub = prompt_pb2_grpc.PromptServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.AnalyzePrompt(prompt_pb2.AnalyzePromptRequest(prompt=f"reason:{name}"), timeout=LATE)
    assert caught.value.code() is TABLE[reason][0]
    error = MeshError.from_rpc(caught.value, "prompt")
    assert (error.reason, error.message, error.field) == (reason, "said", "spec.image.width")
    assert error.retry_after == 1.5


def test_every_reason_of_the_contract_is_in_the_table():
    assert set(TABLE) == set(ErrorReason.values()) - {errors_pb2.ERROR_REASON_UNSPECIFIED}


@given(
    reason=st.sampled_from(sorted(TABLE)),
    message=st.text(max_size=50),
    retry=st.none() | st.floats(0, 1e6),
    words=st.lists(st.text(max_size=10), max_size=3),
)
def test_a_status_is_read_back_as_it_was_written(reason, message, retry, words):
    finding = SafetyFinding(severity=3, evidence="e")
    error = MeshError(
        reason, message, retry_after=retry, suggestions=words, alternative_models=words, findings=[finding]
    )
    back = MeshError.from_status(error.status())
    assert (back.reason, back.message) == (reason, message)
    assert back.retry_after == (None if retry is None else pytest.approx(retry, abs=1e-6))
    assert back.status() == error.status()


def test_the_words_of_a_foreign_server_are_dropped_even_when_it_speaks_in_details_like_ours():
    status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=SECRET)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="MODEL_FAILED", domain="elsewhere.example"))
    error = MeshError.from_status(status)
    assert (error.name, SECRET in error.message) == ("DEPENDENCY_UNAVAILABLE", False)


async def test_durations_are_counted_in_bounds_that_tell_a_fast_call_from_a_slow_one():
    async with running() as (_, channel, _servicer):
        await analyze(channel, "a")
    buckets = [
        line
        for line in generate_latest().decode().splitlines()
        if "vmesh_rpc_duration_seconds_bucket" in line
    ]
    assert any('le="0.001"' in line for line in buckets)
    assert any('le="600"' in line for line in buckets)


def test_a_connection_that_ends_by_its_age_leaves_every_call_its_time():
    assert dict(SERVER_OPTIONS)["grpc.max_connection_age_grace_ms"] >= STREAM_SECONDS * 1000


async def test_a_bug_reaches_the_caller_as_internal_without_its_words():
    async with running() as (_, channel, _servicer):
        stub = prompt_pb2_grpc.PromptServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.AnalyzePrompt(prompt_pb2.AnalyzePromptRequest(prompt="bug"), timeout=LATE)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in str(caught.value)
    assert "Error" not in str(caught.value.details())


async def test_a_broken_rule_names_the_field_and_the_rule():
    async with running() as (_, channel, _servicer):
        with pytest.raises(MeshError) as caught:
            await analyze(channel, "x" * 4001)
    assert caught.value.reason == errors_pb2.ERROR_REASON_FIELD_INVALID
    assert caught.value.field == "prompt"
    assert "4000" in caught.value.message
    bad = next(
        detail
        for detail in caught.value.status().details
        if detail.Is(error_details_pb2.BadRequest.DESCRIPTOR)
    )
    assert bad is not None


async def test_an_rpc_of_a_later_version_says_so():
    async with running() as (_, channel, _servicer):
        stub = prompt_pb2_grpc.PromptServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.SuggestPrompts(prompt_pb2.SuggestPromptsRequest(prompt="a"), timeout=LATE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert MeshError.from_rpc(caught.value, "").reason == errors_pb2.ERROR_REASON_UNIMPLEMENTED


async def test_the_deadline_and_the_identity_travel():
    async with running() as (_, channel, _servicer):
        # gRPC sends a timeout in few digits and rounds it up, by less than one percent.
        assert 20.0 < float(await analyze(channel, "left", timeout=30)) <= 30.0 * ROUNDED
        with deadline.until(10.0):
            assert float(await analyze(channel, "left", timeout=30)) <= 10.0 * ROUNDED
        with identity.acting_as(identity.Identity("acme", "r-1")):
            assert await analyze(channel, "who") == "acme"
        assert await analyze(channel, "who") == identity.LOCAL_TENANT


async def test_no_call_starts_when_no_time_is_left():
    async with running() as (_, channel, _servicer):
        with deadline.until(0.0), pytest.raises(MeshError) as caught:
            await analyze(channel, "left")
    assert caught.value.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED


async def test_a_passed_deadline_stops_the_handler():
    async with running() as (_, channel, servicer):
        with pytest.raises(MeshError) as caught:
            await analyze(channel, "slow", timeout=0.2)
        await asyncio.wait_for(servicer.cancelled.wait(), LATE)
    assert caught.value.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED


async def test_a_trace_crosses_the_hop():
    async with running() as (_, channel, _servicer):
        with telemetry.span("caller"):
            assert await analyze(channel, "trace") == telemetry.trace_id() != ""


async def test_full_is_refused_at_once_with_a_retry_time():
    async with running(max_concurrent_rpcs=2) as (_, channel, servicer):
        held = [asyncio.create_task(analyze(channel, "held")) for _ in range(2)]
        await until(lambda: servicer.held == 2)
        with pytest.raises(MeshError) as caught:
            await analyze(channel, "left")
        servicer.release.set()
        await asyncio.gather(*held)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.retry_after


async def test_health_and_reflection_answer():
    async with running() as (_, channel, _servicer):
        checker = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE.full_name):
            response = await checker.Check(health_pb2.HealthCheckRequest(service=name), timeout=LATE)
            assert response.status == health_pb2.HealthCheckResponse.SERVING

        async def ask():
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(ask(), timeout=LATE)
        names = [service.name async for reply in answers for service in reply.list_services_response.service]
        assert SERVICE.full_name in names


async def test_a_drain_lets_the_running_call_finish_and_refuses_new_ones():
    async with running() as (server, channel, servicer):
        open_call = asyncio.create_task(analyze(channel, "held"))
        await until(lambda: servicer.held == 1)
        draining = asyncio.create_task(server.drain())
        await until_refused(channel)  # the drain has its first step to take
        servicer.release.set()
        await open_call
        await draining


async def test_a_server_that_is_busy_while_it_is_connected_to_is_waited_for():
    async with running() as (server, _channel, _servicer):
        host, port = server.address.split(":")

        async def greets_late(reader, writer):
            await asyncio.sleep(0.7)
            there, back = await asyncio.open_connection(host, port)
            await asyncio.gather(passed(reader, back), passed(there, writer))

        async with (
            await asyncio.start_server(greets_late, host, 0) as late,
            connect(f"{host}:{late.sockets[0].getsockname()[1]}") as channel,
        ):
            assert await analyze(channel, "who") == identity.LOCAL_TENANT


async def passed(reader, writer):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_calls_before_the_server_is_built_are_told_to_come_back():
    building = asyncio.Event()
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def build(_settings):
        await building.wait()
        yield Servicer()

    port = free_port()
    spec = ServerSpec(
        "prompt",
        Settings(listen=f"127.0.0.1:{port}"),
        [SERVICE],
        build,
        prompt_pb2_grpc.add_PromptServiceServicer_to_server,
    )

    async def run() -> None:
        async with serve(spec) as server:
            address.set_result(server.address)

    task = asyncio.create_task(run())
    async with connect(f"127.0.0.1:{port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 20)
        checker = health_pb2_grpc.HealthStub(channel)
        response = await checker.Check(health_pb2.HealthCheckRequest(), timeout=LATE)
        assert response.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(MeshError) as caught:
            await analyze(channel, "left")
        assert caught.value.code is grpc.StatusCode.UNAVAILABLE
        building.set()
        await task
    assert await address


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_the_documentation_tells_the_table():
    page = (Path(__file__).parents[2] / "docs" / "02-errors.md").read_text()
    rows = [
        [cell.strip() for cell in line.split("|")[1:4]] for line in page.splitlines() if line.startswith("| ")
    ]
    told = {(reason, code, family) for reason, code, family in rows[1:]}
    assert told == {
        (ErrorReason.Name(reason).removeprefix("ERROR_REASON_"), code.name, str(family))
        for reason, (code, family) in TABLE.items()
    }
