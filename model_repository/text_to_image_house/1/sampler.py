"""The sampler: Euler steps from noise (t = 0) to image (t = 1) with classifier-free guidance.

Pure: knows numpy and a `predict` function, nothing of Triton or ONNX Runtime.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SIZE = 64  # pixels a side
MAX_IMAGES = 16
MAX_STEPS = 100
MAX_GUIDANCE = 30.0
GUIDED_UNTIL = 0.9  # guidance in the last tenth sharpens noise rather than the picture
SLOWEST = 0.05  # keeps the last steps' division by (1 - t) finite
EMPTY = np.zeros((0, SIZE, SIZE, 3), np.uint8)


@dataclass(frozen=True)
class Drawing:
    """One request: `seeds` one per image, `guidance_scale` up to 1 = unguided, `preview_every` 0 = never."""

    prompt: str
    negative_prompt: str
    seeds: tuple[int, ...]
    steps: int
    guidance_scale: float
    preview_every: int

    def __post_init__(self):
        rules = (
            (
                1 <= len(self.seeds) <= MAX_IMAGES,
                f"seeds: 1 to {MAX_IMAGES}, one per image; {len(self.seeds)} given",
            ),
            (min(self.seeds, default=0) >= 0, "seeds: must not be negative"),
            (1 <= self.steps <= MAX_STEPS, f"steps: must be 1 to {MAX_STEPS}; {self.steps} given"),
            (
                0 <= self.guidance_scale <= MAX_GUIDANCE,
                f"guidance_scale: must be 0 to {MAX_GUIDANCE:g}; {self.guidance_scale} given",
            ),
            (self.preview_every >= 0, f"preview_every: must not be negative; {self.preview_every} given"),
        )
        for holds, rule in rules:
            if not holds:
                raise ValueError(rule)


def noise(seeds):
    """FP32 [B, 3, 64, 64]; an image's noise depends on its own seed alone, not on its place in the batch."""
    generators = (np.random.Generator(np.random.PCG64(seed)) for seed in seeds)
    return np.stack([generator.standard_normal((3, SIZE, SIZE), np.float32) for generator in generators])


def to_pixels(x):
    """FP32 [B, 3, H, W] in [-1, 1] -> UINT8 [B, H, W, 3]."""
    pixels = np.rint((x.transpose(0, 2, 3, 1) + 1) * np.float32(127.5))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def denoise(drawing, words, pooled, predict):
    """Yield (step, preview, images) after each step; `step` counts from 1, images come with the last.

    words FP32 [2, 12, 384] and pooled FP32 [2, 384]: the prompt, then the negative prompt.
    predict(z [N, 3, 64, 64], t [N], words [N, 12, 384], pooled [N, 384]) -> x [N, 3, 64, 64].
    """
    count, scale = len(drawing.seeds), np.float32(drawing.guidance_scale)
    x = noise(drawing.seeds)
    times = np.linspace(0, 1, drawing.steps + 1, dtype=np.float32)
    for step, (now, after) in enumerate(pairwise(times), start=1):
        # Up to 1 the prompt alone is drawn: below it the negative prompt would weigh more than the prompt, and at 0
        # be the picture, though nobody checked it as something to draw.
        guided = now < GUIDED_UNTIL and scale > 1
        sides = 2 if guided else 1  # the prompt alone, or the prompt and the negative prompt in one batch
        image = predict(
            np.concatenate([x] * sides),
            np.full(sides * count, now, np.float32),
            words[:sides].repeat(count, 0),
            pooled[:sides].repeat(count, 0),
        )
        if guided:
            image, plain = image[:count], image[count:]
            image = plain + scale * (image - plain)
        x = x + (image - x) * np.float32((after - now) / max(1 - now, SLOWEST))
        last = step == drawing.steps
        preview = not last and drawing.preview_every and step % drawing.preview_every == 0
        yield step, to_pixels(image) if preview else EMPTY, to_pixels(x) if last else EMPTY
