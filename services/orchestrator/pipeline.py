"""The life of a generation, from prompt to stored assets, as plain functions over `Steps`.

Whoever runs them (directly, or durably) brings the steps and records the events; how a generation ends is the
runner's to tell. Pictures of one request go their last part side by side, two at a time.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from scrollintel.visual.v1 import errors_pb2, spec_pb2
from scrollintel.visual.v1.assets_pb2 import Asset
from scrollintel.visual.v1.events_pb2 import Checked, Output, PromptEnhanced
from scrollintel.visual.v1.generation_pb2 import GenerationSpec
from scrollintel.visual.v1.prompt_pb2 import PromptWording
from scrollintel.visual.v1.router_pb2 import ExecuteRequest, ReportOutcomeRequest
from scrollintel.visual.v1.safety_pb2 import SafetyVerdict
from scrollintel.visual.v1.spec_pb2 import (
    EnhancementOperation,
    EnhancementSpec,
    ImageSpec,
    Objective,
    PixelSize,
    Upscale,
)
from services.orchestrator import faults, sources, verdicts
from services.orchestrator.attempts import GOAL, Attempts, Terms
from services.orchestrator.delivery import DELIVERED_AT_ONCE, Emit, Picture, Progress, deliver, restore
from services.orchestrator.drawing import Drawing
from services.orchestrator.paths import told_as
from services.orchestrator.steps import Steps
from services.orchestrator.verdicts import Texts
from services.runtime import deadline
from services.runtime.errors import MeshError

VARIANTS = {
    spec_pb2.QUALITY_TIER_HIGH: "x4plus-anime"
}  # which upscaler a tier takes; the others take the default

log = structlog.get_logger()


@dataclass(frozen=True)
class Work:
    """What to do: a spec with its defaults filled in.

    `request_id` names it to the router: a client's request that is sent again bears the same one, so that no provider
    is paid twice for it; it is the work's own id where the client gave its request no name.
    """

    id: str
    spec: GenerationSpec
    objective: Objective.ValueType | None = None
    previews: bool = False
    request_id: str = ""
    max_cost_usd: float | None = None  # None sets no limit
    user: str = ""

    def execution(self, drawn: ImageSpec, wordings: Sequence[PromptWording] = ()) -> ExecuteRequest:
        """Return what the router is asked to run; `drawn` is the spec as it will be drawn, but for the models in `wordings`."""
        return ExecuteRequest(
            request_id=self.request_id or self.id,
            generation_id=self.id,
            image=drawn,
            objective=self.objective,
            previews=self.previews,
            max_cost_usd=self.max_cost_usd,
            user=self.user,
            wordings=wordings,
        )


@dataclass(frozen=True)
class Made:
    """What came of it: at least one asset, in the order of the request, and why the others are missing."""

    assets: Sequence[Asset]
    errors: Sequence[MeshError] = ()
    model: str = ""
    cost_usd: float = 0.0


Seconds = Callable[[], float]


def time_left() -> float:
    """Return the seconds that this call has left, infinite without a limit."""
    left = deadline.remaining()
    return math.inf if left is None else left


async def run(work: Work, steps: Steps, emit: Emit, seconds: Seconds = time_left) -> Made:
    """Carry out a piece of work and tell every moment of it to `emit`, but for the first and the last.

    `seconds` tells how many it has left: what is not expected to end within them is not begun. Raises MeshError when nothing could be made. Cancelling it cancels every step that runs.
    """
    kind = work.spec.WhichOneof("spec")
    if kind not in PIPELINES:
        raise MeshError(errors_pb2.ERROR_REASON_UNIMPLEMENTED, f"spec.{kind} is not served by this version")
    return await PIPELINES[kind](work, steps, emit, seconds)


async def draw(work: Work, steps: Steps, emit: Emit, seconds: Seconds) -> Made:
    """Make the pictures of an ImageSpec."""
    asked = await _check(work.spec.image, steps, emit)
    if asked.HasField("source_image"):
        await sources.require_safe(asked.source_image, steps)
    drawn, wordings = await _rewrite(asked, steps, emit)
    drawing = Drawing(work.id, asked, drawn, emit, wordings)
    room = asyncio.Semaphore(DELIVERED_AT_ONCE)
    progress = Progress(asked.num_images, emit)
    attempts = _attempts(work, drawing, steps, progress, seconds)
    results: dict[int, asyncio.Task[Asset | MeshError]] = {}
    failure = MeshError(
        errors_pb2.ERROR_REASON_MODEL_FAILED, "the model drew fewer pictures than were asked for"
    )

    async def delivered(output: Output) -> Asset | MeshError:
        async with room:
            if attempts is not None:
                return await _alone(attempts.deliver(output), work.id)
            picture, enlargement = drawing.picture(output), _enlargement(asked, output)
            return await _alone(deliver(picture, output.media, enlargement, steps, progress), work.id)

    async with asyncio.TaskGroup() as group:
        try:
            with told_as("image.", "spec.image."):
                async with aclosing(steps.execute(work.execution(drawn, wordings))) as events:
                    async for event in events:
                        if (output := drawing.hear(event)) is not None:
                            results[output.index] = group.create_task(delivered(output))
        except MeshError as error:
            failure = error  # what was drawn before is still delivered
    outcomes = [results[index].result() if index in results else failure for index in range(asked.num_images)]
    judged = _judged(work, [task.result() for task in results.values()])
    for outcome in attempts.outcomes(work.id) if attempts is not None else judged:
        steps.report_outcome(outcome)  # only now: the router knows of a run when all of it has come
    assets = [outcome for outcome in outcomes if isinstance(outcome, Asset)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, MeshError)]
    if not assets:
        raise errors[0]
    if attempts is None:
        return Made(assets, errors, drawing.chosen.model, drawing.chosen.predicted_cost_usd)
    return Made(assets, errors, assets[0].metadata.get("model", ""), attempts.usd)


async def enhance(work: Work, steps: Steps, emit: Emit, _: Seconds) -> Made:
    """Restore the picture of an EnhancementSpec."""
    spec = work.spec.enhancement
    with told_as("spec.", "spec.enhancement."):
        media = await restore(spec, steps, emit)
    operations = ", ".join(operation.WhichOneof("operation") or "" for operation in spec.operations)
    told = {"source": spec.source.uri, "operations": operations}
    picture = Picture(work.id, 0, "", None, told, spec.source)
    return Made([await deliver(picture, media, None, steps, Progress(1, emit))])


Pipeline = Callable[[Work, Steps, Emit, Seconds], Awaitable[Made]]

PIPELINES: dict[str | None, Pipeline] = {"image": draw, "enhancement": enhance}


async def _approve(prompt: str, negative_prompt: str, steps: Steps) -> tuple[Texts, SafetyVerdict]:
    """Return prompt and negative prompt as they may be used, and the verdict; raises MeshError unless they may be drawn."""
    try:
        answer = await steps.check_prompt(prompt, negative_prompt)
    except MeshError as error:
        raise verdicts.as_unchecked(error, "the prompt") from error
    return verdicts.usable(answer, (prompt, negative_prompt)), answer.verdict


async def _check(spec: ImageSpec, steps: Steps, emit: Emit) -> ImageSpec:
    """Return the spec with its prompts as they may be used: what the policy takes out goes no further than this."""
    texts, verdict = await _approve(spec.prompt, spec.negative_prompt, steps)
    emit(Checked(findings=verdict.findings, policy_version=verdict.policy_version))
    checked = ImageSpec()
    checked.CopyFrom(spec)
    checked.prompt, checked.negative_prompt = texts
    return checked


async def _rewrite(asked: ImageSpec, steps: Steps, emit: Emit) -> tuple[ImageSpec, Sequence[PromptWording]]:
    """Return the spec as it will be drawn, and the prompts of models that get another one.

    What was rewritten is checked like the caller's own.
    """
    with told_as("", "spec.image."):
        answer = await steps.enhance_prompt(asked)
    drawn = ImageSpec()
    drawn.CopyFrom(asked)
    drawn.prompt, drawn.negative_prompt, drawn.style = answer.prompt, answer.negative_prompt, answer.style
    for field in GOAL:
        drawn.ClearField(field)  # type: ignore[arg-type]
    if (drawn.prompt, drawn.negative_prompt) != (asked.prompt, asked.negative_prompt):
        emit(
            PromptEnhanced(
                original=asked.prompt,
                enhanced=drawn.prompt,
                negative_prompt=drawn.negative_prompt,
                style=drawn.style,
            )
        )
        drawn = await _check(drawn, steps, emit)
    for wording in answer.wordings:
        if wording.prompt not in (asked.prompt, drawn.prompt):
            (wording.prompt, _), _ = await _approve(wording.prompt, drawn.negative_prompt, steps)
    return drawn, answer.wordings


def _attempts(
    work: Work, drawing: Drawing, steps: Steps, progress: Progress, seconds: Seconds
) -> Attempts | None:
    """Return what draws the pictures of a drawing again; None where they are taken as they come."""
    asked = drawing.asked
    if not asked.HasField("min_quality"):
        return None
    terms = Terms(
        name=work.request_id or work.id,
        request=lambda spec: work.execution(spec, drawing.wordings),
        enlargement=lambda output: _enlargement(asked, output),
        seconds=seconds,
        usd=math.inf if work.max_cost_usd is None else work.max_cost_usd,
    )
    return Attempts(drawing, terms, steps, progress)


def _judged(work: Work, drawn: Sequence[Asset | MeshError]) -> Iterator[ReportOutcomeRequest]:
    """Yield what the router is told of the pictures of a single run."""
    for outcome in drawn:
        match outcome:
            case Asset(quality=quality) if quality.HasField("overall"):
                yield ReportOutcomeRequest(request_id=work.id, quality=quality)
            case MeshError(reason=errors_pb2.ERROR_REASON_OUTPUT_UNSAFE):
                yield ReportOutcomeRequest(request_id=work.id, unsafe=True)


def _enlargement(asked: ImageSpec, output: Output) -> EnhancementSpec | None:
    """Return how to bring a picture to the size that was asked for; None when it has it."""
    if (output.media.width, output.media.height) == (asked.width, asked.height):
        return None
    size = PixelSize(width=asked.width, height=asked.height)
    upscale = Upscale(size=size, variant=VARIANTS.get(asked.quality, ""))
    return EnhancementSpec(source=output.media, operations=[EnhancementOperation(upscale=upscale)])


async def _alone(delivery: Awaitable[Asset], generation_id: str) -> Asset | MeshError:
    """Wait for one picture; its failure, even an unexpected one, is not the others'."""
    try:
        return await delivery
    except MeshError as error:
        return error
    except Exception:
        log.exception("delivery failed unexpectedly", generation=generation_id)
        return faults.internal()
