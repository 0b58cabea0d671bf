"""Every edge of the mesh, as its directory has it, shows up in traces as a span whose parent is the caller's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scrollintel.visual import Denoise, ModelError, VisualClient, VisualMeshError
from scrollintel.visual.v1 import prompt_pb2, prompt_pb2_grpc, router_pb2, router_pb2_grpc
from services.local import directory
from services.local.directory import TRITON
from services.local.mesh import LocalMesh
from services.runtime import telemetry
from services.runtime.channels import connect

if TYPE_CHECKING:
    from scrollintel.visual.v1.router_pb2_grpc import RouterServiceAsyncStub

SCORED_SECONDS = 30.0
# Asked for the house's language model alone, which words or labels prompts only where the operator chose it.
CHOSEN = {("prompt", "models"), ("safety", "models")}
PATH = {"gateway", "orchestrator", "prompt", "safety", "router", "enhance", "quality", "assets", TRITON}


@pytest.fixture
def spans(mesh: LocalMesh) -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    telemetry.observe_spans(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


def server_of(span: ReadableSpan) -> str | None:
    """The server a span belongs to: its own name, Triton's, or none for work inside a server."""
    if span.name.startswith(f"{TRITON}/"):
        return TRITON
    name = (span.attributes or {}).get("vmesh.server")
    return None if name is None else str(name)


def edges_of(spans: tuple[ReadableSpan, ...]) -> set[tuple[str, str]]:
    """Pairs of servers whose spans follow each other in one trace, inner work skipped."""
    by_id = {span.context.span_id: span for span in spans}
    edges = set()
    for span in spans:
        callee, parent = server_of(span), span.parent
        while callee is not None and parent is not None and parent.span_id in by_id:
            ancestor = by_id[parent.span_id]
            if (caller := server_of(ancestor)) is not None:
                edges.add((caller, callee))
                break
            parent = ancestor.parent
    return edges


async def test_every_edge_of_the_directory_is_seen_in_traces(
    mesh: LocalMesh, client: VisualClient, spans: InMemorySpanExporter
):
    result = await client.generate_image(
        "a red apple beside a tall green tree", steps=2, width=256, height=256
    ).result()
    await result.assets[0].read()
    await client.enhance(result.assets[0], Denoise())
    await client.verify(result.assets[0])
    await client.compare_images(result.assets[0], result.assets[0])
    await client.models()
    await client.templates()  # the prompt server asks for the tenant's own
    with pytest.raises(ModelError):  # the router asks the models server what it lacks
        await client.generate_image("a red apple", model_preference="sdxl").result()
    await client.backends()
    with pytest.raises(VisualMeshError):  # nobody has drawn it
        await client.rate("gen-unknown", 5)
    async with shadowed(mesh) as scored:  # what shadow arms draw is scored by the router's own asking
        await client.generate_image("a green tree", steps=2, width=256, height=256).result()
        await scored(spans)
    async with connect(mesh.address) as channel:
        request = prompt_pb2.AnalyzePromptRequest(prompt="soft washes of color bleeding over rough paper")
        await prompt_pb2_grpc.PromptServiceStub(channel).AnalyzePrompt(request, timeout=10)
    expected = {(entry.name, callee) for entry in directory.load() for callee in entry.calls}
    seen = edges_of(spans.get_finished_spans())
    assert expected - CHOSEN <= seen, f"never seen: {sorted(expected - CHOSEN - seen)}"
    assert seen <= expected, f"not in the directory: {sorted(seen - expected)}"


@asynccontextmanager
async def shadowed(mesh: LocalMesh) -> AsyncIterator[Callable[[InMemorySpanExporter], Awaitable[None]]]:
    """Copy every request to the model that draws it anyway; yields what waits until a copy was scored."""
    arm = {"model": "text_to_image_house", "share": 1.0}
    arms = [
        router_pb2.ExperimentArm(name="control", **arm),
        router_pb2.ExperimentArm(name="twin", shadow=True, **arm),
    ]

    async def scored(spans: InMemorySpanExporter) -> None:
        async with asyncio.timeout(SCORED_SECONDS):
            while ("router", "quality") not in edges_of(spans.get_finished_spans()):
                await asyncio.sleep(0.1)

    async with connect(mesh.servers["router"]) as channel:
        router: RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(channel)
        made = await router.CreateExperiment(router_pb2.CreateExperimentRequest(arms=arms), timeout=10)
        try:
            yield scored
        finally:
            stop = router_pb2.StopExperimentRequest(id=made.experiment.id)
            await router.StopExperiment(stop, timeout=10)


async def test_one_generation_is_one_trace(client: VisualClient, spans: InMemorySpanExporter):
    await client.generate_image("a blue heart", steps=2, width=256, height=256).result()
    async with asyncio.timeout(20):  # a server's span ends a moment after its caller has what it asked for
        while not (roots := [span for span in spans.get_finished_spans() if server_of(span) == "gateway"]):
            await asyncio.sleep(0.02)
    trace = roots[0].context.trace_id
    servers = {server_of(span) for span in spans.get_finished_spans() if span.context.trace_id == trace}
    assert servers >= PATH
