"""The denoising loop: from noise, or from a picture, through one stage or two. Pure: knows numpy and functions.

Equal to diffusers' pipelines for the same seeds: noise is PyTorch's, drawn for each image by itself.
"""

from typing import Any, NamedTuple

import numpy as np
from noise import Generator
from schedulers import dynamic_shift, scheduler


class Step(NamedTuple):
    """One step to take: which stage's denoiser, under which scheduler, at which of its timesteps."""

    stage: int
    scheduler: Any
    index: int


def plan(pipeline, drawing):
    """The steps to take, in order. A later stage begins where its `start`, a share of the schedule, says."""
    stages, steps = pipeline["stages"], []
    ends = [stage["start"] for stage in stages[1:]] + [None]
    for number, (stage, end) in enumerate(zip(stages, ends, strict=True)):
        schedule = make_scheduler(stage, drawing, pipeline["latents"]["factor"])
        train = stage["scheduler"].get("num_train_timesteps", 1000)
        for index, timestep in enumerate(schedule.timesteps):
            begun = not stage["start"] or timestep < cutoff(train, stage["start"])
            over = end is not None and timestep < cutoff(train, end)
            if begun and not over:
                steps.append(Step(number, schedule, index))
    return steps[skipped(drawing) :] if pipeline["from_image"] else steps


def cutoff(train, share):
    """The timestep at which a share of the schedule is done (`denoising_end` and `denoising_start`)."""
    return round(train - share * train)


def skipped(drawing):
    """How many of the steps a picture to start from makes needless."""
    return drawing.steps - int(drawing.steps * drawing.strength)


def make_scheduler(stage, drawing, factor):
    """A scheduler of the request's own; one that is shared would mix up two requests."""
    config, steps = stage["scheduler"], drawing.steps
    options = {}
    if config.get("use_dynamic_shifting"):
        tokens = (drawing.width // factor // stage["patch"]) * (drawing.height // factor // stage["patch"])
        options["mu"] = dynamic_shift(config, tokens)
    if stage["sigmas"] == "linear":
        options["sigmas"] = np.linspace(1.0, 1 / steps, steps)
    return scheduler(config, steps, **options)


def begin(pipeline, drawing, first, encode_image=None):
    """FP32 [B, C, h, w]: the latents before the first step.

    encode_image(image FP32 [1, 3, H, W]) -> mean and deviation [1, C, h, w], for a pipeline that refines pictures.
    """
    factor = pipeline["latents"]["factor"]
    shape = (1, pipeline["latents"]["channels"], drawing.height // factor, drawing.width // factor)
    generators = [Generator(seed) for seed in drawing.seeds]
    if drawing.image is None:
        scale = np.float32(first.scheduler.init_noise_sigma)
        return np.concatenate([generator.randn(shape) for generator in generators]) * scale
    image = drawing.image.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(127.5) - np.float32(1)
    mean, deviation = encode_image(image)
    clean = np.concatenate([mean + deviation * generator.randn(shape) for generator in generators])
    noise = np.concatenate([generator.randn(shape) for generator in generators])
    return first.scheduler.add_noise(clean, noise, first.index)


def denoise(pipeline, drawing, steps, x, conditions, predict):
    """Yield the latents [B, C, h, w] after each of the steps, and the clean ones that it was heading for.

    conditions: for each stage (positive, negative or None), as `conditioning.condition` gives them.
    predict(denoiser, {name: [N, ...]}) -> [N, C, h, w].
    """
    for stage, schedule, index in steps:
        positive, negative = conditions[stage]
        sides = [side for side in (negative, positive) if side is not None]
        rows = len(sides) * len(x)
        feed = {
            "sample": np.concatenate([schedule.scale_input(x, index)] * len(sides)),
            "timestep": np.full(rows, schedule.timesteps[index], np.float32),
        }
        for name in positive:
            feed[name] = np.concatenate([side[name].repeat(len(x), 0) for side in sides])
        output = predict(pipeline["stages"][stage]["denoiser"], feed)
        if negative is not None:
            avoided, wanted = np.split(output, 2)
            output = avoided + np.float32(guidance_of(pipeline["stages"][stage], drawing)) * (
                wanted - avoided
            )
        clean = schedule.clean(output, index, x)
        x = schedule.step(output, index, x)
        yield x, clean


def guidance_of(stage, drawing):
    """How far the prompt is followed away from the negative prompt; 1 or less: the negative prompt is not asked."""
    if stage["guidance"] == "classifier-free":
        return drawing.guidance_scale
    return drawing.true_cfg_scale if drawing.negative_prompt else 1.0


def to_pixels(image):
    """FP32 [B, 3, H, W] in [-1, 1] -> UINT8 [B, H, W, 3]."""
    half = np.float32(0.5)
    shares = np.clip(image.transpose(0, 2, 3, 1) * half + half, 0, 1)
    return np.rint(shares * np.float32(255)).astype(np.uint8)


def preview(pipeline, clean):
    """Clean latents [B, C, h, w] -> UINT8 [B, h, w, 3]: each latent's colour, by weights fitted at the build."""
    weights, bias = (np.array(pipeline["preview"][name], np.float32) for name in ("weights", "bias"))
    return to_pixels(np.einsum("bchw,cr->brhw", clean, weights) + bias[None, :, None, None])
