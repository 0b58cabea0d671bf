"""Measure the watermark: what it survives, what it costs the picture, and whether it is seen where it is not.

    python -m bench.watermark [--seed 1] [--unmarked 300] [--drawings FOLDER]

Photographs come with scikit-image; the house model's drawings (bench/prompts.txt, 1024 x 1024) are drawn by the mesh that
runs on this machine, or by one started for it. They bear that mesh's mark; the one measured here has another key. Prints
tables in Markdown; docs/19-provenance.md holds them.
"""

import argparse
import asyncio
import contextlib
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from skimage import data
from skimage.metrics import structural_similarity

from scrollintel.visual import VisualClient, running
from services.local.mesh import local_mesh
from services.local.settings import LocalSettings
from services.safety.provenance.payload import PAYLOAD_BITS, SYMBOL_BITS, symbols
from services.safety.provenance.watermark import Watermark

Pixels = NDArray[np.uint8]
Attack = Callable[[Pixels, np.random.Generator], Pixels]

PHOTOGRAPHS = (
    "astronaut",
    "chelsea",
    "coffee",
    "rocket",
    "immunohistochemistry",
    "retina",
    "hubble_deep_field",
)
PROMPTS = Path(__file__).parent / "prompts.txt"
SEED, SECONDS = 7, 120
MARK = Watermark(b"the key of bench/watermark.py")


def jpeg(picture: Pixels, quality: int) -> Pixels:
    """Return a picture as JPEG leaves it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(picture: Pixels, factor: float) -> Pixels:
    """Return a picture resized with Lanczos."""
    height, width = (max(1, round(side * factor)) for side in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def cropped(picture: Pixels, area: float, random: np.random.Generator) -> Pixels:
    """Return a piece of a picture, of its proportions, from anywhere."""
    height, width = (max(1, round(side * area**0.5)) for side in picture.shape[:2])
    top = random.integers(0, picture.shape[0] - height + 1)
    left = random.integers(0, picture.shape[1] - width + 1)
    return np.ascontiguousarray(picture[top : top + height, left : left + width])


def turned(picture: Pixels, degrees: float) -> Pixels:
    """Return a picture turned anticlockwise, its corners cut off and black ones in their place."""
    return np.asarray(Image.fromarray(picture).rotate(degrees, Image.Resampling.BICUBIC))


def noisy(picture: Pixels, random: np.random.Generator) -> Pixels:
    """Return a picture with Gaussian noise of 5 levels."""
    return np.clip(picture + random.normal(0, 5, picture.shape), 0, 255).astype(np.uint8)


ATTACKS: dict[str, Attack] = {
    "none": lambda picture, _: picture,
    "JPEG 70": lambda picture, _: jpeg(picture, 70),
    "JPEG 50": lambda picture, _: jpeg(picture, 50),
    "half the size": lambda picture, _: resized(picture, 0.5),
    "half the size, JPEG 70": lambda picture, _: jpeg(resized(picture, 0.5), 70),
    "three quarters of the size": lambda picture, _: resized(picture, 0.75),
    "a tenth of the area cut off": lambda picture, random: cropped(picture, 0.9, random),
    "nine tenths of the area cut off": lambda picture, random: cropped(picture, 0.1, random),
    "nine tenths cut off, JPEG 70": lambda picture, random: jpeg(cropped(picture, 0.1, random), 70),
    "noise of 5 levels": noisy,
    "a quarter of the size": lambda picture, _: resized(picture, 0.25),
    "any size from a third to 2, JPEG 80": lambda picture, random: jpeg(
        resized(picture, float(random.uniform(1 / 3, 2))), 80
    ),
    "85 % of the size": lambda picture, _: resized(picture, 0.85),
    "85 % of the size, JPEG 70": lambda picture, _: jpeg(resized(picture, 0.85), 70),
    "turned by a quarter": lambda picture, _: np.ascontiguousarray(np.rot90(picture)),
    "mirrored": lambda picture, _: np.ascontiguousarray(picture[:, ::-1]),
    "mirrored, upside down, JPEG 70": lambda picture, _: jpeg(np.ascontiguousarray(picture[::-1]), 70),
    "turned by 1 degree": lambda picture, _: turned(picture, 1),
    "turned by 5 degrees, JPEG 70": lambda picture, _: jpeg(turned(picture, 5), 70),
    "turned by any angle, any size from half to 1.5": lambda picture, random: resized(
        turned(picture, float(random.uniform(0, 360))), float(random.uniform(0.5, 1.5))
    ),
    "turned by 1 degree, a quarter cut off": lambda picture, random: cropped(
        turned(picture, 1), 0.75, random
    ),
}


@dataclass
class Tally:
    """What was found after one attack."""

    tried: int = 0
    found: int = 0
    read: int = 0
    bits: list[float] = field(
        default_factory=list
    )  # the share right, of each picture where the mark was found

    def row(self) -> str:
        """Return the figures as cells of a table."""
        right = f"{100 * float(np.mean(self.bits)):.1f} %" if self.bits else "–"
        return f"{self.found}/{self.tried} | {self.read}/{self.tried} | {right}"


def photographs() -> Iterator[Pixels]:
    """Yield photographs, none over 1024 pixels a side."""
    for name in PHOTOGRAPHS:
        picture = np.asarray(getattr(data, name)())[..., :3]
        yield resized(picture, min(1.0, 1024 / max(picture.shape)))


async def drawings(kept: Path | None) -> list[Pixels]:
    """Return what the house model draws; a folder is filled with it, or spares the drawing where it is full."""
    prompts = PROMPTS.read_text().split("\n")[:-1]
    files = [kept / f"{number:02}.png" for number in range(len(prompts))] if kept else []
    if files and all(file.exists() for file in files):
        return [np.asarray(Image.open(file)) for file in files]
    drawn = await draw(prompts)
    for file, picture in zip(files, drawn, strict=False):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    return drawn


async def draw(prompts: Sequence[str]) -> list[Pixels]:
    """Have pictures drawn by the mesh that runs here, or by one started for it."""
    async with contextlib.AsyncExitStack() as stack:
        found = running.read(LocalSettings().home)
        address = (
            found.gateway if found else (await stack.enter_async_context(local_mesh(LocalSettings()))).address
        )
        client = await stack.enter_async_context(VisualClient(address, timeout=SECONDS))
        drawn = []
        for prompt in track(prompts, "drawing"):
            result = await client.generate_image(prompt, seed=SEED).result()
            drawn.append(np.asarray(Image.open(io.BytesIO(await result.assets[0].read())).convert("RGB")))
        return drawn


def survived(pictures: Sequence[Pixels], random: np.random.Generator) -> dict[str, Tally]:
    """Mark each picture, attack it in every way, and look for the mark."""
    tallies = {name: Tally() for name in ATTACKS}
    for picture in track(pictures, "attacking"):
        payload = int(random.integers(0, 1 << PAYLOAD_BITS))
        marked, told = MARK.mark(picture, payload), symbols(payload)
        for name, attack in ATTACKS.items():
            found, tally = MARK.find(attack(marked, random)), tallies[name]
            tally.tried += 1
            tally.found += found.marked
            tally.read += found.payload == payload
            if found.marked:
                wrong = sum((a ^ b).bit_count() for a, b in zip(found.symbols, told, strict=True))
                tally.bits.append(1 - wrong / (SYMBOL_BITS * len(told)))
    return tallies


def cost(pictures: Sequence[Pixels]) -> str:
    """Return what the mark does to pictures, and the milliseconds of marking and of looking in vain."""
    figures = []
    for picture in pictures:
        began = time.perf_counter()
        marked = MARK.mark(picture, 1)
        marking = time.perf_counter() - began
        MARK.find(picture)
        looking = time.perf_counter() - began - marking
        error = np.mean((marked.astype(float) - picture) ** 2)
        ssim = structural_similarity(picture, marked, channel_axis=2)  # type: ignore[no-untyped-call]
        figures.append((10 * np.log10(255**2 / error), ssim, 1000 * marking, 1000 * looking))
    low, middle = np.min(figures, axis=0), np.median(figures, axis=0)
    return (
        f"{middle[0]:.1f} dB (least {low[0]:.1f}) | {middle[1]:.3f} (least {low[1]:.3f}) | "
        f"{middle[2]:.0f} ms | {middle[3]:.0f} ms"
    )


def false_alarms(pictures: Sequence[Pixels], count: int, random: np.random.Generator) -> tuple[int, float]:
    """Return in how many of `count` pieces of pictures without the mark it was found, and the least p-value."""
    values = []
    for _ in track(range(count), "pieces without the mark"):
        piece = cropped(pictures[int(random.integers(len(pictures)))], float(random.uniform(0.1, 1)), random)
        values.append(MARK.find(jpeg(piece, 90) if random.random() < 0.5 else piece))
    return sum(found.marked for found in values), min(found.p_value for found in values)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unmarked", type=int, default=300, help="pieces without the mark to look at")
    parser.add_argument("--drawings", type=Path, help="a folder that keeps them for the next time")
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    groups: dict[str, Any] = {
        "photographs": list(photographs()),
        "drawings": asyncio.run(drawings(arguments.drawings)),
    }
    tables = {name: survived(pictures, random) for name, pictures in groups.items()}
    print("\n| attack | " + " | ".join(f"{n}: found | payload read | bits right" for n in groups) + " |")
    print("|---" * (1 + 3 * len(groups)) + "|")
    for attack in ATTACKS:
        print(f"| {attack} | " + " | ".join(table[attack].row() for table in tables.values()) + " |")
    print("\n| pictures | PSNR | SSIM | marking | looking in vain |\n|---|---|---|---|---|")
    for name, pictures in groups.items():
        print(f"| {len(pictures)} {name} | {cost(pictures)} |")
    print()
    for name, pictures in groups.items():
        alarms, least = false_alarms(pictures, arguments.unmarked // 2, random)
        print(
            f"{name}: {alarms} of {arguments.unmarked // 2} pieces taken for marked, least p-value {least:.1e}"
        )


if __name__ == "__main__":
    main()
