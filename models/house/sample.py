"""Drawing: from noise (t = 0) to image (t = 1) by Euler or Heun steps with classifier-free guidance."""

import argparse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.house.data import default_home
from models.house.network import HouseModel, load_model
from models.house.text import WORDS, encode, load_encoder

STEPS, GUIDANCE = 24, 2.5
GUIDED_UNTIL = 0.9  # guidance past this time sharpens noise, not the picture


def noise(seeds: Sequence[int], size: int = 64) -> Tensor:
    """[len(seeds), 3, size, size] of N(0, 1), each image from its own numpy PCG64(seed): the served model's noise."""
    drawn = [
        np.random.Generator(np.random.PCG64(seed)).standard_normal((3, size, size), np.float32)
        for seed in seeds
    ]
    return torch.from_numpy(np.stack(drawn))


@torch.inference_mode()
def draw(
    model: HouseModel,
    words: Tensor,
    pooled: Tensor,
    null_words: Tensor,
    null_pooled: Tensor,
    start: Tensor,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    heun: bool = False,
) -> Tensor:
    """Images [B, 3, S, S] in [-1, 1] for words [B, 12, 384] and pooled [B, 384], from noise `start`.

    `null_words` [1, 12, 384] and `null_pooled` [1, 384] are the empty (or negative) prompt's. Heun evaluates the
    network twice per step: compare it at half the steps.
    """
    count = len(words)
    both = torch.cat([words, null_words.expand_as(words)]), torch.cat([pooled, null_pooled.expand_as(pooled)])

    def velocity(x: Tensor, t: float) -> Tensor:
        if t < GUIDED_UNTIL and guidance > 1:  # up to 1 is unguided, as in the served sampler
            guided, plain = model(torch.cat([x, x]), torch.full((2 * count,), t), *both).float().chunk(2)
            image = plain + guidance * (guided - plain)
        else:
            image = model(x, torch.full((count,), t), words, pooled).float()
        return (image - x) / max(1 - t, 0.05)

    x = start
    times = torch.linspace(0, 1, steps + 1).tolist()
    for now, after in pairwise(times):
        v = velocity(x, now)
        if heun and after < 1:
            v = (v + velocity(x + v * (after - now), after)) / 2
        x = x + v * (after - now)
    return x.clamp(-1, 1)


def to_uint8(images: Tensor) -> np.ndarray:
    """[B, 3, S, S] in [-1, 1] -> uint8 [B, S, S, 3]."""
    return ((images.permute(0, 2, 3, 1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def main() -> None:
    """`python -m models.house.sample CHECKPOINT OUT.png PROMPT...`: one row of images, one per prompt."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("out", type=Path)
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--home", type=Path, default=default_home())
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--guidance", type=float, default=GUIDANCE)
    parser.add_argument("--heun", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=10)
    args = parser.parse_args()
    words, pooled = encode(*load_encoder(args.home), [*args.prompts, ""], WORDS)
    model = load_model(args.checkpoint)
    start = noise([args.seed + index for index in range(len(args.prompts))], model.config["size"])
    images = to_uint8(
        draw(
            model,
            words[:-1],
            pooled[:-1],
            words[-1:],
            pooled[-1:],
            start,
            args.steps,
            args.guidance,
            args.heun,
        )
    )
    blank = np.full_like(images[:1], 255)
    images = np.concatenate([images, *[blank] * (-len(images) % args.columns)])
    size = images.shape[1]
    sheet = (
        images.reshape(-1, args.columns, size, size, 3)
        .transpose(0, 2, 1, 3, 4)
        .reshape(-1, args.columns * size, 3)
    )
    Image.fromarray(sheet).save(args.out)


if __name__ == "__main__":
    main()
