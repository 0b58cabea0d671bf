"""The three paths that are measured, each as one call that draws one picture."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scrollintel.visual import Event, Output, Stage, Step, VisualClient
from scrollintel.visual.v1 import router_pb2, spec_pb2
from services.local.bench.figures import Sample
from services.runtime.triton import TritonClient

if TYPE_CHECKING:  # a name of the stubs' types alone
    from scrollintel.visual.v1.router_pb2_grpc import RouterServiceAsyncStub

MODEL = "text_to_image_house"
PROMPT = "a red apple"
GUIDANCE = 3.0
SIDE = 256  # pixels; the model draws at its own size either way, and what comes after is not compared
REQUEST_SECONDS = 120.0

Path = Callable[[int], Awaitable[Sample]]
"""Draws the picture of a seed and says how long it took."""


@dataclass(frozen=True)
class Work:
    """What every path draws."""

    steps: int
    prompt: str = PROMPT
    guidance: float = GUIDANCE


def triton(client: TritonClient, work: Work) -> Path:
    """Return the model's own stream."""

    async def draw(seed: int) -> Sample:
        inputs = {
            "prompt": np.array([work.prompt], dtype=object),
            "negative_prompt": np.array([""], dtype=object),
            "seeds": np.array([seed], dtype=np.int64),
            "steps": np.array([work.steps], dtype=np.int32),
            "guidance_scale": np.array([work.guidance], dtype=np.float32),
            "preview_every": np.array([0], dtype=np.int32),
        }
        began = time.perf_counter()
        drawn = 0.0
        async for response in client.stream(
            MODEL, inputs, request_id=f"bench-{seed}", timeout=REQUEST_SECONDS
        ):
            if response["images"].size:
                drawn = time.perf_counter() - began
        if not drawn:
            raise RuntimeError("the model's stream ended without a picture")
        return Sample("triton", drawn, time.perf_counter() - began, {})

    return draw


def router(stub: "RouterServiceAsyncStub", work: Work) -> Path:
    """Return RouterService.Execute."""

    async def draw(seed: int) -> Sample:
        image = spec_pb2.ImageSpec(
            prompt=work.prompt,
            seed=seed,
            steps=work.steps,
            guidance_scale=work.guidance,
            width=SIDE,
            height=SIDE,
            num_images=1,
            model_preference=MODEL,
            enhancement_level=spec_pb2.ENHANCEMENT_LEVEL_NONE,
        )
        request = router_pb2.ExecuteRequest(request_id=f"bench-{time.monotonic_ns()}", image=image)
        began = time.perf_counter()
        drawn = 0.0
        async for response in stub.Execute(request, timeout=REQUEST_SECONDS):
            if response.WhichOneof("event") == "step" and response.step.k == response.step.n:
                drawn = time.perf_counter() - began
        if not drawn:
            raise RuntimeError("the router's stream ended without its last step")
        return Sample("router", drawn, time.perf_counter() - began, {})

    return draw


def gateway(client: VisualClient, work: Work) -> Path:
    """Return GenerationService.Generate at the door."""

    async def draw(seed: int) -> Sample:
        began = time.perf_counter()
        drawn = 0.0
        events: list[tuple[float, Event]] = []
        generation = client.generate_image(
            work.prompt,
            seed=seed,
            steps=work.steps,
            guidance_scale=work.guidance,
            width=SIDE,
            height=SIDE,
            num_images=1,
            model_preference=MODEL,
            enhancement_level="none",
            timeout=REQUEST_SECONDS,
        )
        async for event in generation:
            events.append((time.perf_counter() - began, event))
            if _last_step(event):
                drawn = events[-1][0]
        await generation.result()
        if not drawn:
            raise RuntimeError("the generation ended without its last step")
        return Sample("gateway", drawn, time.perf_counter() - began, stage_seconds(events))

    return draw


def stage_seconds(events: list[tuple[float, Event]]) -> dict[str, float]:
    """Return how long each stage took: from the event before it to the event that ends it, as they arrived."""
    found: dict[str, float] = {}
    before = 0.0
    for at, event in events:
        name = _stage(event)
        found[name] = found.get(name, 0.0) + at - before
        before = at
    return found


def _stage(event: Event) -> str:
    match event:
        case Step(stage=stage):
            return str(stage)
        case Output():
            return str(Stage.CHECK)
        case _:
            return type(event).__name__.lower()


def _last_step(event: Event) -> bool:
    return isinstance(event, Step) and event.stage is Stage.DRAW and event.k == event.n
