"""What a request demands of a backend, in the router's own words. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from router.prompt_class import PromptClass
from router.sizes import Size

DEFAULT_SIZE = Size(1024, 1024)
OTHER = PromptClass.OTHER
FPS = 24.0  # frames of a second of video, where nobody says how many


class Modality(StrEnum):
    """What is to be made; a request never goes to a backend that makes something else."""

    TEXT_TO_IMAGE = "text-to-image"
    VIDEO = "video"
    UPSCALE = "upscale"


class Objective(StrEnum):
    """What the caller wants favoured; `weights.yaml` says by how much."""

    BALANCED = "balanced"
    QUALITY = "quality"
    LATENCY = "latency"
    COST = "cost"


class Tier(StrEnum):
    """How much work to spend; each backend's `tiers` say how many steps that is."""

    DRAFT = "draft"
    STANDARD = "standard"
    HIGH = "high"


@dataclass(frozen=True, slots=True)
class Demand:
    """A request as the filters and scorers see it.

    `images` counts from 1; `steps` and `guidance_scale` are None where the backend's defaults apply; `model` is empty
    where any model will do; `tried` names the backends that failed this request already. `prompt_length` is in UTF-16 code
    units, and `worded_lengths` those of models that are given another prompt, as (model, length) where * stands for
    anything. `size` is what the picture shall have in the end. A video has `frames` and a `duration` in seconds; a still
    picture has 1 and 0. `time_limit` is in seconds from now and `max_usd` in US dollars, each None without one. `edits`
    says that there is a picture to change. Whose policy says so goes to no `external` provider, to no model whose
    licence is `noncommercial`, and only to the `allowed` models (None is all).
    """

    modality: Modality = Modality.TEXT_TO_IMAGE
    objective: Objective = Objective.BALANCED
    tier: Tier = Tier.STANDARD
    images: int = 1
    steps: int | None = None
    guidance_scale: float | None = None
    model: str = ""
    tried: frozenset[str] = frozenset()
    size: Size = DEFAULT_SIZE
    prompt_class: PromptClass = OTHER
    prompt_length: int = 0
    worded_lengths: tuple[tuple[str, int], ...] = ()
    frames: int = 1
    duration: float = 0.0
    time_limit: float | None = None
    max_usd: float | None = None
    edits: bool = False
    external: bool = True
    noncommercial: bool = True
    allowed: frozenset[str] | None = None

    @property
    def restricted(self) -> bool:
        """Whether its tenant's policy rules anything out."""
        return not (self.external and self.noncommercial and self.allowed is None)

    def length_for(self, model: str) -> int:
        """Return the length of the prompt that a model is given: of the first wording that is for it, or of the prompt."""
        if not self.worded_lengths:  # asked for each backend: the usual answer comes first
            return self.prompt_length
        fitting = (length for name, length in self.worded_lengths if fnmatchcase(model, name))
        return next(fitting, self.prompt_length)
