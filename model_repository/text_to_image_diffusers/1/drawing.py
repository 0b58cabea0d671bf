"""One request, checked against what the pipeline can draw. Pure."""

from dataclasses import dataclass

import numpy as np

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Drawing:
    """What to draw: `seeds` one per image, `preview_every` 0 = never.

    guidance_scale: up to 1 unguided; what FLUX is told. true_cfg_scale: for a pipeline that is told its guidance, a
    second run with the negative prompt above 1. image UINT8 [H, W, 3] and strength in (0, 1]: where to start, for a
    pipeline that refines pictures.
    """

    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    steps: int
    guidance_scale: float
    width: int
    height: int
    true_cfg_scale: float = 1.0
    preview_every: int = 0
    image: np.ndarray | None = None
    strength: float = 0.3


def decimal(value):
    """An FP32 as the number it was written as: 0.9 and not 0.89999998, of which 10 steps would leave 8 and not 9."""
    return float(str(value))


def check(drawing, pipeline):
    """Raise ValueError naming the tensor and the rule that a drawing breaks. `pipeline`: pipeline.json."""
    limits, sizes = pipeline["limits"], pipeline["sizes"]
    most, steps, guidance = limits["num_images"], limits["steps"], limits["guidance_scale"]
    offered = ", ".join(f"{width}x{height}" for width, height in sizes)
    starts, given = pipeline["from_image"], drawing.image is not None
    rules = (
        (
            1 <= len(drawing.seeds) <= most,
            f"seeds: 1 to {most}, one per image; {len(drawing.seeds)} given",
        ),
        (min(drawing.seeds, default=0) >= 0, "seeds: must not be negative"),
        (1 <= drawing.steps <= steps, f"steps: must be 1 to {steps}; {drawing.steps} given"),
        (
            0 <= drawing.guidance_scale <= guidance,
            f"guidance_scale: must be 0 to {guidance}; {drawing.guidance_scale} given",
        ),
        (
            0 <= drawing.true_cfg_scale <= guidance,
            f"true_cfg_scale: must be 0 to {guidance}; {drawing.true_cfg_scale} given",
        ),
        (
            [drawing.width, drawing.height] in sizes,
            f"size: must be one of {offered}; {drawing.width}x{drawing.height} given",
        ),
        (drawing.preview_every >= 0, f"preview_every: must not be negative; {drawing.preview_every} given"),
        (given or not starts, "image: is required; this model refines a picture"),
        (starts or not given, "image: this model draws from text alone"),
        (
            not given or drawing.image.shape == (drawing.height, drawing.width, 3),
            f"image: must have the size {drawing.width}x{drawing.height}",
        ),
        (
            not starts or 0 < drawing.strength <= 1,
            f"strength: must be above 0 and at most 1; {drawing.strength:g} given",
        ),
        (
            not starts or drawing.steps * drawing.strength >= 1,
            f"strength: must leave a step to do; {drawing.strength:g} of {drawing.steps} given",
        ),
    )
    for holds, rule in rules:
        if not holds:
            raise ValueError(rule)
