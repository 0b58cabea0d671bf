"""A request for a video, checked, and what is sent back while it is made.

Pure: knows numpy and the model's `pipeline.json`, nothing of Triton or ONNX Runtime.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LEAST_SIDE, MOST_SIDE = 32, 4096  # pixels of a picture that comes in
LIMITS = {"seed": (0, 2**63 - 1)}


class Stepped(NamedTuple):
    """A denoising step is done; `number` counts from 1."""

    number: int


class Decoded(NamedTuple):
    """Frames UINT8 [n, H, W, 3]; the first of them is number `index` of the video, counted from 0."""

    index: int
    frames: np.ndarray


@dataclass(frozen=True)
class Clip:
    """One request. `size` is (width, height), `image` UINT8 [H, W, 3]; a field the family does not take is None."""

    seed: int
    steps: int
    guidance_scale: float
    frames: int
    size: tuple[int, int]
    prompt: str | None = None
    negative_prompt: str | None = None
    image: np.ndarray | None = None
    fps: int | None = None
    motion_bucket_id: int | None = None
    noise_aug_strength: float | None = None
    min_guidance_scale: float | None = None
    decode_chunk_size: int | None = None


def read_clip(given, pipeline):
    """Check what was given, by tensor name (texts as str, all else as arrays), against the model's `pipeline.json`.

    Raises ValueError naming the tensor and the rule.
    """
    required, defaults = pipeline["required"], pipeline["defaults"]
    takes = (*required, *defaults, "size")
    for name in given:
        if name not in takes:
            raise ValueError(f"{name}: is not taken by this model; it takes {', '.join(takes)}")
    for name in required:
        if name not in given:
            raise ValueError(f"{name}: is required")
    fields = defaults | {
        name: value if name in ("prompt", "negative_prompt", "image", "size") else single(name, value)
        for name, value in given.items()
    }
    for name, (low, high) in (LIMITS | pipeline["limits"]).items():
        if not low <= fields[name] <= high:
            raise ValueError(f"{name}: must be {low:g} to {high:g}; {fields[name]:g} given")
    if (fields["frames"] - 1) % pipeline["frames_per_latent"]:
        rule = f"one more than a multiple of {pipeline['frames_per_latent']}"
        raise ValueError(f"frames: must be {rule}; {fields['frames']} given")
    if "image" in given:
        check_image(fields["image"])
    return Clip(**fields | {"size": choose_size(fields.get("size"), fields.get("image"), pipeline["sizes"])})


def single(name, values):
    """The value of a tensor of shape [1]."""
    if values.size != 1:
        raise ValueError(f"{name}: must hold one value; {values.size} given")
    return values.ravel()[0].item()


def check_image(image):
    """Raise ValueError unless a picture is one that can be drawn from."""
    sides = image.shape[:2]
    if not all(LEAST_SIDE <= side <= MOST_SIDE for side in sides):
        height, width = sides
        rule = f"must be {LEAST_SIDE} to {MOST_SIDE} pixels a side"
        raise ValueError(f"image: {rule}; {width}x{height} given")


def choose_size(asked, image, sizes):
    """The (width, height) asked for, which must be one of `sizes`; else that of the picture's shape, else the first."""
    choices = [tuple(size) for size in sizes]
    if asked is not None:
        size = tuple(int(side) for side in asked.ravel())
        if size not in choices:
            listed = ", ".join(f"{width}x{height}" for width, height in choices)
            raise ValueError(f"size: must be one of {listed}; {'x'.join(map(str, size))} given")
        return size
    if image is None:
        return choices[0]
    shape = math.log(image.shape[1] / image.shape[0])
    return min(choices, key=lambda size: abs(math.log(size[0] / size[1]) - shape))


def to_pixels(frames):
    """FP32 [n, 3, H, W] in [-1, 1] -> UINT8 [n, H, W, 3], rounded as diffusers' VideoProcessor rounds."""
    unit = np.clip(frames.transpose(0, 2, 3, 1) / np.float32(2) + np.float32(0.5), 0, 1)
    return np.rint(unit * np.float32(255)).astype(np.uint8)
