"""A request to run, and the work it is for one backend."""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from router.backends.protocol import Job, Source
from router.demand import Demand
from router.snapshot import BackendView
from services.runtime.wordings import Wording, wording_for


class Assignment(NamedTuple):
    """The arm of an experiment that a request is in, and the model that the arm prefers.

    `unit` is who the request counted as when it was split, hashed; `others` are the models of the other arms.
    """

    experiment: str
    arm: str
    model: str
    unit: str = ""
    others: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Order:
    """A request to run: what it demands, what to draw, and at how many steps of the run to show previews (0 is none).

    `tenant` and `user` say who asks, `generation_id` what for; they may be empty. `source` is a picture to work from,
    `fps` the frames of a second of video. `assignment` is set where an experiment chose the model. `wordings` are
    prompts for models that are better given another one than `prompt`.
    """

    demand: Demand
    request_id: str
    prompt: str
    negative_prompt: str
    seed: int
    previews: int = 0
    tenant: str = ""
    user: str = ""
    generation_id: str = ""
    source: Source | None = None
    fps: float = 0.0
    assignment: Assignment | None = None
    wordings: tuple[Wording, ...] = ()

    def job(self, backend: BackendView, attempt: int = 1) -> Job:
        """Return the work this order is for one backend, with its defaults filled in; image i has the seed + i."""
        steps = backend.steps(self.demand)
        return Job(
            request_id=self.request_id,
            prompt=wording_for(backend.model, self.prompt, self.wordings),
            negative_prompt=self.negative_prompt if backend.negative_prompts else "",
            seeds=tuple(self.seed + index for index in range(self.demand.images)),
            steps=steps,
            guidance_scale=backend.guidance(self.demand),
            size=backend.size(self.demand),
            preview_every=math.ceil(steps / (self.previews + 1)) if self.previews else 0,
            tier=self.demand.tier,
            duration=backend.duration(self.demand),
            fps=self.fps,
            source=self.source,
            attempt=attempt,
        )

    def assigned(self, assignment: Assignment) -> "Order":
        """Return this order as the arm's: it asks for the arm's model."""
        return replace(self, assignment=assignment, demand=replace(self.demand, model=assignment.model))

    def released(self) -> "Order":
        """Return this order free of its arm's model, which was the experiment's wish and not the caller's."""
        return replace(self, assignment=None, demand=replace(self.demand, model=""))
