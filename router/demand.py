"""What a request demands of a backend, in the router's own words. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from router.sizes import Size

DEFAULT_SIZE = Size(1024, 1024)


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
    where any model will do; `tried` names the backends that failed this request already. `size` is what the picture
    shall have in the end.
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
