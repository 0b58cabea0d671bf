"""What the router asks of anything that makes pictures, and the events it answers with."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from router.demand import Modality, Tier
from router.sizes import Size
from router.snapshot import State
from scrollintel.visual.v1.media_pb2 import MediaRef

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do: `max_steps` and `max_images` per request, the sizes its pictures may have.

    `steps`, `seeds` and `negative_prompts` say whether it takes such things at all; where it does not, they are left
    aside and the caller is told. `edits` says whether it takes a picture to change, `durations` which lengths of video
    in seconds it makes (empty where it makes none).
    """

    modality: Modality
    max_steps: int
    max_images: int
    sizes: tuple[Size, ...]
    steps: bool = True
    seeds: bool = True
    negative_prompts: bool = True
    edits: bool = False
    durations: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A picture to work from: the bytes of a file that was checked (PNG, JPEG or WebP), and its media type."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Job:
    """Work for one backend, everything decided: one picture per seed, a preview every so many steps (0 is never).

    `size` is one of the backend's sizes, `tier` how much work to spend where a backend has no steps. A video is one
    picture of `duration` seconds, one of the backend's durations. `attempt` counts the runs of this request, from 1.
    """

    request_id: str
    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    steps: int
    guidance_scale: float
    size: Size
    preview_every: int = 0
    tier: Tier = Tier.STANDARD
    duration: float = 0.0
    fps: float = 0.0
    source: Source | None = None
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model had to be brought into memory first, which took `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """A denoising step was done: `k` of `n`, from 1."""

    k: int
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What picture `index` (from 0) looks like so far: RGB uint8 [H, W, 3]."""

    index: int
    pixels: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Output:
    """Picture `index` (from 0), drawn from `seed`: RGB uint8 [H, W, 3]."""

    index: int
    seed: int
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class Stored:
    """Picture or video `index` (from 0), stored already; `seed` is -1 where the backend takes none."""

    index: int
    seed: int
    media: MediaRef


@dataclass(frozen=True, slots=True)
class Recalled:
    """The run made nothing and cost nothing: its outcome is that of an earlier one of the same request."""


BackendEvent = Loaded | Step | Preview | Output | Stored | Recalled


class Backend(Protocol):
    """Something that makes pictures. Every adapter passes tests/contract/test_router_backends.py."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; never changes."""

    async def probe(self) -> State:
        """Return its state, never DRAINING; never raises for a backend that is away."""

    def execute(self, job: Job, timeout: float) -> AsyncGenerator[BackendEvent, None]:
        """Run a job within `timeout` seconds: each step in order, then one output per seed, then the end.

        A model that had to be loaded is told first, an outcome that is recalled before its outputs or its error.

        Closing the generator stops the work before its next step. Raises MeshError: MODEL_UNAVAILABLE when the backend
        does not answer or went away, MODEL_FAILED when it answered with an error or with rubbish, OUT_OF_MEMORY,
        DEADLINE_EXCEEDED.
        """
