"""A backend that draws noise at the pace a test sets and fails where it says; views and entries to go with it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from router.backends.protocol import BackendEvent, Capabilities, Job, Output, Preview, Step
from router.demand import Modality, Tier
from router.entries import BackendEntry
from router.learning.quality import Posterior, QualityView
from router.learning.seconds import Forecast
from router.price import Price
from router.prompt_class import PromptClass
from router.sizes import Size
from router.snapshot import BackendView, State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

SMALL = Size(16, 16)


def gone(name: str = "the model") -> MeshError:
    message = f"{name} cannot be reached; it is being restarted"
    return MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, message, retry_after=6)


@dataclass(eq=False)
class ScriptedBackend:
    """Draws unless `health` or `failures` (step -> error, 0 is before the first) say otherwise; `gates` hold a step.

    `refusals` are told to the first jobs, one each, before they begin.
    """

    entry: BackendEntry
    health: State = State.READY
    failures: dict[int, MeshError] = field(default_factory=dict)
    gates: dict[int, asyncio.Event] = field(default_factory=dict)
    refusals: list[MeshError] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    steps: int = 0
    running: int = 0
    most_running: int = 0

    @property
    def capabilities(self) -> Capabilities:
        limits = self.entry.limits
        return Capabilities(self.entry.modality, limits.steps, limits.images, self.entry.sizes)

    async def probe(self) -> State:
        return self.health

    async def execute(self, job: Job, timeout: float) -> AsyncGenerator[BackendEvent]:
        self.jobs.append(job)
        until = time.monotonic() + timeout
        with self._counted():
            if self.refusals:
                raise self.refusals.pop(0)
            await self._moment(0, until)
            for k in range(1, job.steps + 1):
                await self._moment(k, until)
                self.steps += 1
                yield Step(k, job.steps)
                if job.preview_every and k % job.preview_every == 0 and k < job.steps:
                    for index, seed in enumerate(job.seeds):
                        yield Preview(index, self._pixels(seed, job.size))
            for index, seed in enumerate(job.seeds):
                yield Output(index, seed, self._pixels(seed, job.size))

    async def _moment(self, k: int, until: float) -> None:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await asyncio.sleep(0)
                if gate := self.gates.get(k):
                    await gate.wait()
        except TimeoutError:
            reason = errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED
            raise MeshError(reason, f"{self.entry.model} did not answer in time") from None
        if self.health is not State.READY:
            raise gone(self.entry.model)
        if error := self.failures.get(k):
            raise error

    def _pixels(self, seed: int, size: Size) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (size.height, size.width, 3), np.uint8)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield
        finally:
            self.running -= 1


def entry(model: str = "alpha", **changes: object) -> BackendEntry:
    """An entry that allows 100 steps and 16 images and takes 8 steps by default."""
    values = {
        "name": f"triton/{model}",
        "kind": "triton",
        "model": model,
        "modality": Modality.TEXT_TO_IMAGE,
        "remedy": "run `vmesh models build`",
        "defaults": {"steps": 8, "guidance_scale": 2.5},
        "tiers": {Tier.DRAFT: 0.5, Tier.STANDARD: 1, Tier.HIGH: 2},
        "limits": {"steps": 100, "images": 16},
        "sizes": [{"width": 16, "height": 16}],
        "concurrency": 1,
        "queue": 1,
        "prior": {"quality": 0.5, "seconds_per_step": 0.01},
    }
    return BackendEntry.model_validate(values | changes)


def view(name: str = "triton/alpha", **changes: object) -> BackendView:
    """A ready and idle backend; its model is the last part of its name.

    `pace` is in seconds per step and picture, `quality` in [0, 1] and `price` in US dollars per picture, all known well.
    """
    values = {
        "name": name,
        "model": name.rpartition("/")[2],
        "modality": Modality.TEXT_TO_IMAGE,
        "state": State.READY,
        "steps_by_tier": {Tier.DRAFT: 4, Tier.STANDARD: 8, Tier.HIGH: 16},
        "guidance_scale": 2.5,
        "max_steps": 100,
        "max_images": 16,
        "concurrency": 2,
        "queue": 4,
        "sizes": (SMALL,),
        "call_seconds": 1.0,
        "remedy": "run `vmesh models build`",
    }
    values |= changes
    known = {
        "allowance": values["concurrency"],
        "forecast": forecast(values.pop("pace", 0.1), values["sizes"][0]),
    }
    quality, price = values.pop("quality", 0.5), values.pop("price", 0.0)
    values["quality"] = judged(quality) if isinstance(quality, float | int) else quality
    values["price"] = Price(price) if isinstance(price, float | int) else price
    return BackendView(**(known | values))


def forecast(pace: float, size: Size = SMALL, noise: float = 0.0) -> Forecast:
    """What is known of a backend that takes `pace` seconds per step and picture of a size, and nothing else."""
    nothing = (0.0, 0.0, 0.0, 0.0)
    per_stroke = pace / (size.width * size.height / 1e6)
    return Forecast(0.0, per_stroke, 0.0, 0.0, (nothing, nothing, nothing, nothing), noise)


def judged(quality: float, deviation: float = 0.0) -> QualityView:
    """What is known of a backend whose pictures are as good as that, whatever they show."""
    posterior = Posterior(quality, deviation)
    return QualityView(posterior, dict.fromkeys(PromptClass, posterior))
