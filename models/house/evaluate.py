"""Measure drawn pictures on prompts never trained on, with the matcher, beside real pictures and random pairs.

For each sampler setting: the mean calibrated score of picture and prompt, how often the right prompt ranks first or
among the first five of the held-out list, and the seconds an image takes on one core.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from models.house.calibrate import Calibration, embed_images, embed_texts, real_images, recall
from models.house.data import default_home, read_icons
from models.house.held_out import COLOURS, HELD_OUT, PARAPHRASES
from models.house.matcher import Matcher, load_matcher
from models.house.network import HouseModel, load_model
from models.house.sample import GUIDANCE, STEPS, draw, noise, to_uint8
from models.house.text import WORDS, encode, load_encoder
from models.house.views import SIZE

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Setting:
    """One way to draw. Heun evaluates the network twice a step."""

    steps: int = STEPS
    guidance: float = GUIDANCE
    heun: bool = False

    def __str__(self) -> str:
        return f"{'Heun' if self.heun else 'Euler'} {self.steps} steps, guidance {self.guidance}"


GRID = (
    *(Setting(24, guidance) for guidance in (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)),
    *(Setting(steps, 2.5) for steps in (8, 16, 32)),
    *(Setting(steps, 2.5, heun=True) for steps in (8, 12, 16)),
)


class Prompts:
    """The held-out prompts' conditions, and the empty prompt's."""

    def __init__(self, home: Path) -> None:
        words, pooled = encode(*load_encoder(home), [*(target.prompt for target in HELD_OUT), ""], WORDS)
        self.words, self.pooled = words[:-1], pooled[:-1]
        self.null_words, self.null_pooled = words[-1:], pooled[-1:]

    def draw(self, model: HouseModel, setting: Setting, seed: int, batch: int = 16) -> Images:
        """One image per prompt, uint8 [N, S, S, 3]."""
        start = noise([1000 * seed + i for i in range(len(self.words))], model.config["size"])
        null = self.null_words, self.null_pooled
        images = [
            draw(model, words, pooled, *null, part, setting.steps, setting.guidance, setting.heun)
            for words, pooled, part in zip(
                self.words.split(batch), self.pooled.split(batch), start.split(batch), strict=True
            )
        ]
        return to_uint8(torch.cat(images))


def enlarge(images: Images) -> Images:
    """Any images uint8 [N, S, S, 3] at the matcher's size."""
    scaled = [Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC) for image in images]
    return np.stack([np.asarray(image) for image in scaled])


def shrink(images: Images, size: int) -> Images:
    """Real pictures at the model's own resolution, so that only the drawing differs."""
    scaled = [Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS) for image in images]
    return np.stack([np.asarray(image) for image in scaled])


def figures(matcher: Matcher, texts: Tensor, calibration: Calibration, images: Images) -> dict[str, float]:
    """Mean score of true pairs and of random pairs, and retrieval of the right prompt, for one image per prompt."""
    cosine = (embed_images(matcher, enlarge(images)) @ texts.T).numpy()
    own = calibration.score(np.diagonal(cosine))
    off = ~np.eye(len(texts), dtype=bool)
    ends = len(PARAPHRASES), len(PARAPHRASES) + len(COLOURS)
    return {
        "score": float(own.mean()),
        "paraphrases": float(own[: ends[0]].mean()),
        "colours": float(own[ends[0] : ends[1]].mean()),
        "styled": float(own[ends[1] :].mean()),
        "random": float(calibration.score(cosine[off]).mean()),
        "top 1": recall(cosine, 1),
        "top 5": recall(cosine, 5),
    }


def contact_sheet(rows: Sequence[Images], columns: int = 11) -> Image.Image:
    """Several images per prompt as one picture: for each run of prompts, the first of each, then the second, ..."""
    size = max(images.shape[1] for images in rows)
    bands = []
    for start in range(0, len(rows[0]), columns):
        for images in rows:
            part = images[start : start + columns]
            blank = np.full((columns - len(part), *part.shape[1:]), 255, np.uint8)
            band = np.concatenate([*part, *blank], 1)
            bands.append(np.asarray(Image.fromarray(band).resize((columns * size, size))))
    return Image.fromarray(np.concatenate(bands))


def main() -> None:
    """`python -m models.house.evaluate CHECKPOINT`: the table, and a contact sheet of every held-out prompt."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--home", type=Path, default=default_home())
    parser.add_argument(
        "--calibration", type=Path, default=Path("model_repository/image_text_matcher/1/calibration.json")
    )
    parser.add_argument("--sheet", type=Path, help="PNG to write (default: HOME/evaluation.png)")
    parser.add_argument("--grid", action="store_true", help="try every sampler setting, not only the default")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--bfloat16", action="store_true", help="draw in bf16: three times as fast on AMX, for the grid"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, matcher = load_model(args.checkpoint), load_matcher(args.home, args.home / "matcher.pt")
    stored = json.loads(args.calibration.read_text())
    calibration = Calibration(stored["slope"], stored["offset"])
    texts = embed_texts(matcher, args.home, [target.prompt for target in HELD_OUT])
    prompts = Prompts(args.home)
    real = shrink(real_images(args.home, read_icons(args.home)), model.config["size"])
    rows = {"real pictures": (figures(matcher, texts, calibration, real), 0.0)}
    drawn: list[Images] = []
    for setting in GRID if args.grid else (Setting(),):
        began = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bfloat16):
            images = [prompts.draw(model, setting, seed) for seed in range(args.seeds)]
        seconds = (time.process_time() - began) / (len(HELD_OUT) * args.seeds)
        found = [figures(matcher, texts, calibration, one) for one in images]
        rows[str(setting)] = (
            {name: float(np.mean([one[name] for one in found])) for name in found[0]},
            seconds,
        )
        if setting == Setting():
            drawn = images
        print(f"{setting}: {rows[str(setting)][0]['score']:.3f}", flush=True)
    table = Table(
        "setting", *rows["real pictures"][0], "CPU s/image", title=f"{len(HELD_OUT)} held-out prompts"
    )
    for name, (values, seconds) in rows.items():
        table.add_row(
            name, *(f"{value:.3f}" for value in values.values()), f"{seconds:.2f}" if seconds else ""
        )
    Console(width=140).print(table)
    sheet = args.sheet or args.home / "evaluation.png"
    contact_sheet([*drawn, real]).save(sheet)
    print(f"contact sheet: {sheet} (each prompt: {args.seeds} drawn, then the real picture below)")


if __name__ == "__main__":
    main()
