"""The loop: a picture is drawn, checked, scored and held against its goal, and drawn again where it falls short.

What follows from each attempt is `acceptance`'s to decide; here it is done, paid for and timed. Attempts are named and
seeded by the work and their number, so that work that is done again draws, and buys, the same ones.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import structlog

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.assets_pb2 import Asset
from scrollintel.visual.v1.events_pb2 import Output
from scrollintel.visual.v1.quality_pb2 import QualityMetrics
from scrollintel.visual.v1.router_pb2 import ExecuteRequest, ReportOutcomeRequest
from scrollintel.visual.v1.spec_pb2 import EnhancementSpec, ImageSpec
from services.orchestrator import acceptance, defaults, delivery, judgements, scores, trials
from services.orchestrator.acceptance import Escalate, Left, Option
from services.orchestrator.delivery import Progress
from services.orchestrator.drawing import Drawing
from services.orchestrator.paths import told_as
from services.orchestrator.steps import Steps
from services.orchestrator.trials import Trial
from services.runtime.errors import MeshError

GOAL = ("min_quality", "max_attempts", "quality_metric")  # fields of a spec that are not for who draws it

log = structlog.get_logger()


@dataclass(frozen=True)
class Terms:
    """On what terms pictures are drawn again.

    `name` is the work's, `request` makes of a spec what the router is asked, and `enlargement` says of an output how it
    gets its size. `seconds` tells how many are left, infinite without a limit; `usd` is what all may cost together.
    """

    name: str
    request: Callable[[ImageSpec], ExecuteRequest]
    enlargement: Callable[[Output], EnhancementSpec | None]
    seconds: Callable[[], float]
    usd: float = math.inf


class Attempts:
    """Draws the pictures of one request again where they fall short; `first` drew all of them once."""

    def __init__(self, first: Drawing, terms: Terms, steps: Steps, progress: Progress) -> None:
        self._first = first
        self._terms = terms
        self._steps = steps
        self._progress = progress
        self._goal = trials.goal(first.asked)
        self._again_usd = 0.0  # paid, or put by, for drawing again
        self._judged: list[tuple[str, Trial]] = []  # by the name of the run; empty is the first one's

    @property
    def usd(self) -> float:
        """What everything that was drawn cost, in US dollars."""
        return self._first.chosen.predicted_cost_usd + self._again_usd

    def outcomes(self, generation_id: str) -> list[ReportOutcomeRequest]:
        """Return how the pictures of each run were judged; runs go by their own names where there are several."""
        first = self._terms.name if any(name for name, _ in self._judged) else generation_id
        told = [_outcome(name or first, one) for name, one in self._judged]
        return [one for one in told if one is not None]

    async def deliver(self, output: Output) -> Asset:
        """Bring a picture of the first drawing to its goal, or as near as there is time and money for, and store it.

        Raises MeshError where nothing can be delivered; a later attempt that fails costs the earlier ones nothing.
        """
        index, asked, emit = output.index, self._first.asked, self._first.emit
        tried = [await self._judge(self._first, output)]
        while True:
            so_far = [one.attempt for one in tried]
            decision = acceptance.decide(so_far, self._goal, self._left(), self._options())
            emit(judgements.judged(index, asked, tried, decision))
            if isinstance(decision, judgements.FINAL):
                break
            option = decision.option if isinstance(decision, Escalate) else _same(tried[-1])
            try:
                tried.append(await self._again(index, len(tried) + 1, option))
            except Exception as error:
                if not isinstance(error, MeshError | TimeoutError):
                    log.exception("attempt failed unexpectedly", generation=self._first.generation_id)
                emit(judgements.failed(index, asked, tried, option.model, error))
                break
        return await self._finish(tried)

    async def _again(self, index: int, number: int, option: Option) -> Trial:
        """Draw a picture once more; an attempt that would leave no time to deliver an earlier one is stopped."""
        spec = ImageSpec()
        spec.CopyFrom(self._first.drawn)
        spec.num_images, spec.model_preference = 1, option.model
        spec.seed = defaults.attempt_seed(self._first.drawn.seed + index, number)
        drawing = self._first.again(spec, index)
        request = self._terms.request(spec)
        request.request_id = defaults.attempt_name(self._terms.name, index, number)
        if math.isfinite(option.usd):  # what it was chosen for, whatever prices are by now
            request.max_cost_usd = option.usd
        left = self._left().seconds - acceptance.FINISH_SECONDS
        self._again_usd += option.usd
        try:
            async with asyncio.timeout(left if math.isfinite(left) else None):
                output = await self._draw(drawing, request)
                return await self._judge(drawing, output, request.request_id)
        finally:
            self._again_usd += drawing.chosen.predicted_cost_usd - option.usd

    async def _draw(self, drawing: Drawing, request: ExecuteRequest) -> Output:
        drawn: Output | None = None
        with told_as("image.", "spec.image."):
            async with aclosing(self._steps.execute(request)) as events:
                async for event in events:
                    drawn = drawing.hear(event) or drawn
        if drawn is None:
            raise MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, "the model drew nothing")
        return drawn

    async def _judge(self, drawing: Drawing, output: Output, run: str = "") -> Trial:
        enlargement = self._terms.enlargement(output)
        trial = await trials.judge(drawing, output, enlargement, self._steps, self._progress)
        self._judged.append((run, trial))
        return trial

    async def _finish(self, tried: Sequence[Trial]) -> Asset:
        """Deliver the best trial; the others leave no asset, and their bytes are cleared away as nobody's."""
        best = trials.best(tried)
        if best is None:
            raise next(one.refusal for one in tried if one.refusal is not None)
        chosen, picture = tried[best], trials.numbered(tried, best)
        async with delivery.alongside(self._remembered(chosen)) as scoring:
            return await delivery.finish(
                picture, chosen.media, chosen.checked, scoring, self._steps, self._progress
            )

    async def _remembered(self, chosen: Trial) -> QualityMetrics:
        """Return the scores of what is delivered, which counts among the tenant's results from now on."""
        if not chosen.metrics.ListFields():
            return chosen.metrics
        unnamed = replace(chosen.picture, metadata={})  # its scores stand in its model's charts already
        again = await delivery.scored(unnamed, chosen.media, self._steps)
        return again if again.ListFields() else chosen.metrics

    def _options(self) -> list[Option]:
        """Return the models that could draw instead; none where the caller named one."""
        if self._first.asked.model_preference:
            return []
        return [
            Option(
                one.model,
                one.predicted_quality,
                one.predicted_time.ToNanoseconds() / 1e9,
                one.predicted_cost_usd / self._first.drawn.num_images,
            )
            for one in self._first.candidates
            if not one.refusal
        ]

    def _left(self) -> Left:
        return Left(self._terms.seconds(), self._terms.usd - self.usd)


def _same(trial: Trial) -> Option:
    attempt = trial.attempt
    return Option(attempt.model, attempt.quality, attempt.seconds, attempt.usd)


def _outcome(run: str, trial: Trial) -> ReportOutcomeRequest | None:
    """Return what the router is told of a trial; None where nothing was measured that it learns from."""
    if trial.refusal is not None:
        return ReportOutcomeRequest(request_id=run, unsafe=True)
    if not trial.metrics.HasField("overall"):
        return None
    return ReportOutcomeRequest(request_id=run, quality=scores.with_safety(trial.metrics, trial.checked))
