"""The loop: a picture is drawn, checked, scored and held against its goal, and drawn again where it falls short.

What follows from each attempt is `acceptance`'s to decide; here it is done, paid for and timed. Attempts are named and
seeded by the work and their number, so that work that is done again draws, and buys, the same ones.
"""

import asyncio
import math
import time
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

REMEMBERED_BEFORE_SECONDS = acceptance.FINISH_SECONDS / 2  # what is left then is for storing

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
        self._again_usd: dict[str, float] = {}  # paid, or put by, for each run that draws again, by its name
        self._waiting = first.asked.num_images  # pictures that nobody has looked at yet
        self._look_seconds = 0.0  # the longest that a first look at one took
        self._judged: list[tuple[str, Trial]] = []  # by the name of the run; empty is the first one's

    @property
    def usd(self) -> float:
        """What everything that was drawn cost, in US dollars."""
        return self._first.chosen.predicted_cost_usd + sum(self._again_usd.values())

    def outcomes(self, generation_id: str) -> list[ReportOutcomeRequest]:
        """Return how the pictures of each run were judged; runs go by their own names where there are several."""
        first = self._terms.name if self._again_usd else generation_id  # that is the name of all runs of it
        told = [_outcome(name or first, one) for name, one in self._judged]
        return [one for one in told if one is not None]

    async def deliver(self, output: Output) -> Asset:
        """Bring a picture of the first drawing to its goal, or as near as there is time and money for, and store it.

        Raises MeshError where nothing can be delivered; a later attempt that fails costs the earlier ones nothing.
        """
        index, asked, emit = output.index, self._first.asked, self._first.emit
        tried = [await self._first_look(output)]
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

    async def _first_look(self, output: Output) -> Trial:
        self._waiting -= 1
        began = time.monotonic()
        try:
            return await self._judge(self._first, output)
        finally:
            self._look_seconds = max(self._look_seconds, time.monotonic() - began)

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
        self._again_usd[request.request_id] = option.usd
        try:
            async with asyncio.timeout(_limit(self._left().seconds - acceptance.FINISH_SECONDS)):
                output = await self._draw(drawing, request)
                return await self._judge(drawing, output, request.request_id)
        finally:
            self._again_usd[request.request_id] = drawing.chosen.predicted_cost_usd

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
        """Return the scores of what is delivered, which counts among the tenant's results from now on.

        What was scored is not lost because there is no time to remember it.
        """
        if not chosen.metrics.ListFields():
            return chosen.metrics
        unnamed = replace(chosen.picture, metadata={})  # its scores stand in its model's charts already
        try:
            async with asyncio.timeout(_limit(self._left().seconds - REMEMBERED_BEFORE_SECONDS)):
                again = await delivery.scored(unnamed, chosen.media, self._steps)
        except TimeoutError:
            log.warning("not remembered", generation=self._first.generation_id, index=chosen.picture.index)
            return chosen.metrics
        told = QualityMetrics()
        told.CopyFrom(chosen.metrics)  # what it was judged by; another look may have come to less
        if again.HasField("uniqueness"):  # but of pictures that came at one time only this one knows
            told.uniqueness.CopyFrom(again.uniqueness)
        return told

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
        """Return what may go on drawing again: pictures that still wait for their first look come before that."""
        rounds = math.ceil(self._waiting / delivery.DELIVERED_AT_ONCE)
        kept = rounds * (self._look_seconds * acceptance.SLACK + acceptance.FINISH_SECONDS)
        unlimited = math.isinf(self._terms.usd)  # then an unknown price, which is infinite, is no matter
        return Left(self._terms.seconds() - kept, math.inf if unlimited else self._terms.usd - self.usd)


def _limit(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


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
