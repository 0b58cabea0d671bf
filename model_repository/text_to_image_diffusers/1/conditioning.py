"""From a prompt to what a denoiser is told besides the sample. Pure: knows numpy and an `encode` function.

A stage (of pipeline.json) says which encoders are joined how, so no family of pipelines is known here by name.
"""

import numpy as np

# What SDXL's refiner is told of a picture to draw and of one to avoid (`StableDiffusionXLImg2ImgPipeline`).
AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE = 6.0, 2.5


def condition(stage, encode, text, size, guidance_scale, *, negative=False):
    """The denoiser's inputs for one prompt: name -> FP32 [1, ...].

    encode(encoder, text) -> {"states": [1, T, D], "pooled": [1, P]}, as far as the encoder has them. size: (width,
    height) in pixels. `negative`: the prompt is what to avoid.
    """
    hidden = np.concatenate([join(block, encode, text) for block in stage["encoder_hidden_states"]], axis=1)
    told = {"encoder_hidden_states": hidden}
    if stage["pooled"]:
        told["pooled"] = np.concatenate([encode(name, text)["pooled"] for name in stage["pooled"]], axis=-1)
    if negative and not text and stage["empty_negative"] == "zeros":
        told = {name: np.zeros_like(values) for name, values in told.items()}
    if stage["time_ids"]:
        told["time_ids"] = time_ids(stage["time_ids"], size, negative)
    if stage["guidance"] == "embedded":
        told["guidance"] = np.array([guidance_scale], np.float32)
    return told


def join(block, encode, text):
    """A block's encoders side by side, [1, T, width], padded with zeros; zeros where it has none."""
    if not block["encoders"]:
        return np.zeros((1, block["tokens"], block["width"]), np.float32)
    states = np.concatenate([encode(name, text)["states"] for name in block["encoders"]], axis=-1)
    return np.pad(states, ((0, 0), (0, 0), (0, block["width"] - states.shape[-1])))


def time_ids(kind, size, negative):
    """FP32 [1, 6 or 5]: the picture's own size, no crop, then its size again or how well it should score."""
    width, height = size
    score = NEGATIVE_AESTHETIC_SCORE if negative else AESTHETIC_SCORE
    last = (height, width) if kind == "size" else (score,)
    return np.array([[height, width, 0, 0, *last]], np.float32)
