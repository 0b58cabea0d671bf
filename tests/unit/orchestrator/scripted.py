"""Steps that do what a test says: each can fail, hang or answer, and remembers what was asked of it."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from scrollintel.visual.v1 import errors_pb2, events_pb2, safety_finding_pb2
from scrollintel.visual.v1.assets_pb2 import Asset
from scrollintel.visual.v1.enhance_pb2 import EnhanceImageResponse
from scrollintel.visual.v1.events_pb2 import Candidate, Output, Preview, Routed, Step
from scrollintel.visual.v1.generation_pb2 import GenerateRequest, GenerationSpec
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.prompt_pb2 import EnhancePromptResponse
from scrollintel.visual.v1.quality_pb2 import QualityMetrics, Score
from scrollintel.visual.v1.router_pb2 import ExecuteResponse, RouteResponse
from scrollintel.visual.v1.safety_finding_pb2 import SafetyFinding
from scrollintel.visual.v1.safety_pb2 import (
    CheckImageResponse,
    CheckPromptResponse,
    SafetyVerdict,
    SealMediaResponse,
)
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.runtime.errors import MeshError

MODEL_SIDE = 64
DRAW_STEPS = 4
RUN = 16  # the pictures of a generation's n-th run, from 0, are numbered from n times this

# Every place where something can go wrong; those after "output" do so for one picture alone.
PLACES = (
    "check_prompt",
    "enhance_prompt",
    "recheck_prompt",
    "routed",
    "step",
    "output",
    "enhance_image",
    "check_image",
    "score_image",
    "seal_media",
    "create_asset",
)


def media(index: int, width: int = MODEL_SIDE, height: int = MODEL_SIDE) -> MediaRef:
    digest = f"{width:032x}{height:016x}{index:016x}"
    return MediaRef(
        uri=f"blob:{digest}", sha256=digest, media_type="image/png", width=width, height=height, frames=1
    )


def index_of(ref: MediaRef) -> int:
    return int(ref.sha256[-16:], 16)


def image_request(prompt: str = "a smiling cat", request_id: str = "", **fields) -> GenerateRequest:
    spec = GenerationSpec(image=ImageSpec(prompt=prompt, **fields))
    return GenerateRequest(request_id=request_id, spec=spec)


@dataclass
class ScriptedSteps:
    failing: dict[str, BaseException] = field(
        default_factory=dict
    )  # "place" or "place:index" to what it raises
    hanging: set[str] = field(default_factory=set)  # places that wait until `release` is set, or for ever
    suffix: str = ", watercolor"  # what enhancing adds to the prompt
    action: int = safety_finding_pb2.SAFETY_ACTION_ALLOW  # of the prompt
    image_action: int = safety_finding_pb2.SAFETY_ACTION_ALLOW
    drawn: int | None = None  # how many pictures the router gives; None gives all
    model_size: tuple[int, int] = (MODEL_SIDE, MODEL_SIDE)
    previews: int = 1  # a step
    release: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)  # a hanging place was entered
    halted: asyncio.Event = field(default_factory=asyncio.Event)  # a hanging place was cancelled
    calls: Counter = field(default_factory=Counter)
    stopped: list[str] = field(default_factory=list)  # places that were cancelled while hanging
    requests: list = field(default_factory=list)
    outcomes: list = field(default_factory=list)  # what the router was told
    unknown: frozenset[str] = frozenset()  # models that no backend serves
    usd: float = 0.0  # what a picture costs
    overall: float | None = None  # score of every picture
    overalls: list[float | None] = field(default_factory=list)  # of one judged picture after the other
    refused: set[int] = field(default_factory=set)  # numbers of `media` that the safety check refuses
    spares: list[Candidate] = field(default_factory=list)  # other models that could draw
    remembered: list[bool] = field(default_factory=list)  # of each scoring
    runs: Counter = field(default_factory=Counter)  # of each generation
    delivering: int = 0
    most_delivering: int = 0

    async def at(self, place: str, index: int | None = None) -> None:
        self.calls[place] += 1
        names = [place] if index is None else [place, f"{place}:{index}"]
        for name in names:
            if name in self.hanging:
                self.reached.set()
                try:
                    await self.release.wait()
                except asyncio.CancelledError:
                    self.stopped.append(place)
                    self.halted.set()
                    raise
            if name in self.failing:
                raise self.failing[name]
        await asyncio.sleep(0)

    async def check_prompt(self, prompt, negative_prompt):
        await self.at("recheck_prompt" if self.calls["enhance_prompt"] and self.suffix else "check_prompt")
        return CheckPromptResponse(verdict=self.verdict(self.action))

    async def enhance_prompt(self, image):
        await self.at("enhance_prompt")
        return EnhancePromptResponse(
            prompt=image.prompt + self.suffix, negative_prompt=image.negative_prompt, style=image.style
        )

    async def route(self, request):
        self.requests.append(request)
        await self.at("route")
        usd = self.usd * request.image.num_images
        house = Candidate(backend="triton/text_to_image_house", model="text_to_image_house")
        house.predicted_cost_usd, house.predicted_quality = usd, 0.5
        house.predicted_time.FromSeconds(2)
        return RouteResponse(candidates=[house, *self.spares])

    async def execute(self, request):
        self.requests.append(request)
        await self.at("routed")
        name = request.image.model_preference or "text_to_image_house"
        if name in self.unknown:
            raise MeshError(errors_pb2.ERROR_REASON_MODEL_UNKNOWN, f"no backend serves {name}")
        run = self.runs[request.generation_id]
        self.runs[request.generation_id] += 1
        usd = self.usd * request.image.num_images
        house = Candidate(backend=f"triton/{name}", model=name, score=0.9, predicted_cost_usd=usd)
        spare = Candidate(backend="triton/spare", model="spare", score=0.1)
        known = {one.model: one for one in self.spares}
        chosen = known.get(name, house)
        yield ExecuteResponse(
            routed=Routed(chosen=chosen, reasons=["best"], runners_up=self.spares or [spare])
        )
        for k in range(1, DRAW_STEPS + 1):
            await self.at("step")
            yield ExecuteResponse(step=Step(stage=events_pb2.STAGE_DRAW, k=k, n=DRAW_STEPS))
            for index in range(self.previews if request.previews else 0):
                yield ExecuteResponse(preview=Preview(index=index, image=b"png", media_type="image/png"))
        for index in range(request.image.num_images if self.drawn is None else self.drawn):
            await self.at("output", index)
            drawn = media(index + RUN * run, *self.model_size)
            yield ExecuteResponse(output=Output(index=index, media=drawn, seed=request.image.seed + index))

    async def enhance_image(self, spec):
        self.requests.append(spec)
        self.delivering += 1
        self.most_delivering = max(self.most_delivering, self.delivering)
        index, size = index_of(spec.source), spec.operations[0].upscale.size
        try:
            await self.at("enhance_image", index)
            yield EnhanceImageResponse(step=Step(stage=events_pb2.STAGE_UPSCALE, k=1, n=1))
            yield EnhanceImageResponse(image=media(index, size.width, size.height))
        finally:
            self.delivering -= 1

    async def check_image(self, image):
        await self.at("check_image", index_of(image))
        block = safety_finding_pb2.SAFETY_ACTION_BLOCK
        action = block if index_of(image) in self.refused else self.image_action
        return CheckImageResponse(verdict=self.verdict(action, "open_nsfw/1"), safety_score=0.97)

    async def score_image(self, image, prompt, model="", *, remember=True):
        self.requests.append(prompt)
        self.remembered.append(remember)
        await self.at("score_image", index_of(image))
        scores = QualityMetrics(sharpness=Score(value=0.5, measured_by="sharpness/1"))
        if not remember and self.overalls:
            self.overall = self.overalls.pop(0)
        if self.overall is not None:
            scores.overall.CopyFrom(Score(value=self.overall, measured_by="overall/1"))
        return scores

    async def seal_media(self, request):
        self.requests.append(request)
        await self.at("seal_media", index_of(request.media))
        return SealMediaResponse(media=request.media, watermark="0000002a")

    def report_outcome(self, request):
        self.outcomes.append(request)

    async def create_asset(self, request):
        self.requests.append(request)
        await self.at("create_asset", index_of(request.media))
        return Asset(
            id=request.id,
            media=request.media,
            generation_id=request.generation_id,
            quality=request.quality,
            seed=request.seed if request.HasField("seed") else None,
            metadata=request.metadata,
        )

    def verdict(self, action: int, check: str = "prompt-rules/1") -> SafetyVerdict:
        verdict = SafetyVerdict(action=action, policy_version="1", checks=[check])
        if action not in (0, safety_finding_pb2.SAFETY_ACTION_ALLOW):
            verdict.findings.append(
                SafetyFinding(
                    category=safety_finding_pb2.SAFETY_CATEGORY_VIOLENCE,
                    severity=6,
                    action=action,
                    checker=check,
                )
            )
        return verdict
