"""The training set on disk: every picture variant, every caption's embedding, and a weighted table of pairs.

Files in `home/prepared`: `pictures.npy` uint8 [V, 64, 64, 4]; `words.npy` float16 [C, 12, 384] and
`pooled.npy` float16 [C, 384] (caption 0 is the empty one); `pairs.npz` with, per pair, `picture`, `caption`,
`background` RGB, `mirrors` and `weight`; `captions.json`; `variants.json`, [code point, colour or ""] of each picture.
Made once by `python -m models.house.dataset`.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import track
from torch import Tensor

from models.house.captions import background_captions, captions, painted_captions, sole_tags
from models.house.colours import BACKGROUNDS, PAINTS, colour_name, dominant_hue, onto, paint
from models.house.data import Icon, default_home, fetch, read_icons, read_pictures
from models.house.text import WORDS, encode, load_encoder

PAINTED_SHARE, BACKGROUND_SHARE = 0.16, 0.04
PAINT_FROM = 0.45  # share of the picture that must have the dominant hue
WHITE = (255, 255, 255)


class PairTable:
    """Collects (picture, caption, background, mirrors, weight) rows; the same caption is stored once."""

    def __init__(self) -> None:
        self.captions: dict[str, int] = {"": 0}
        self.rows: list[tuple[int, int, tuple[int, int, int], bool, float]] = []
        self.variants: list[tuple[str, str]] = []

    def add(
        self, picture: int, caption: str, background: tuple[int, int, int], mirrors: bool, weight: float
    ) -> None:
        """Add one row; captions are numbered in the order they first come."""
        index = self.captions.setdefault(caption, len(self.captions))
        self.rows.append((picture, index, background, mirrors, weight))


def build_pairs(
    icons: list[Icon], pictures: npt.NDArray[np.uint8]
) -> tuple[PairTable, npt.NDArray[np.uint8]]:
    """The table, and the pictures [V, S, S, 4] with the painted variants after the originals."""
    table, variants = PairTable(), list(pictures)
    table.variants = [(icon.hexcode, "") for icon in icons]
    tags = sole_tags(icons)
    total = sum(icon.weight for icon in icons)
    paintable = [
        i for i, icon in enumerate(icons) if icon.paintable and dominant_hue(pictures[i])[1] > PAINT_FROM
    ]
    for i, icon in enumerate(track(icons, description="captions")):
        colour = colour_name(pictures[i])
        own = captions(icon, tags[icon.hexcode], colour if icon.paintable else "")
        share = (
            (1 - PAINTED_SHARE - BACKGROUND_SHARE) * icon.weight / total / sum(weight for _, weight in own)
        )
        for text, weight in own:
            table.add(i, text, WHITE, icon.mirrors, share * weight)
        rng = np.random.default_rng(i)
        for name in rng.choice(list(BACKGROUNDS), 3, replace=False):
            texts = background_captions(icon, name)
            for text in texts:
                weight = BACKGROUND_SHARE * icon.weight / total / 3 / len(texts)
                table.add(i, text, BACKGROUNDS[name], icon.mirrors, weight)
    for i in track(paintable, description="painting"):
        colours = [colour for colour in PAINTS if colour != colour_name(pictures[i])]
        for colour in colours:
            texts = painted_captions(icons[i], colour)
            for text in texts:
                weight = PAINTED_SHARE / len(paintable) / len(colours) / len(texts)
                table.add(len(variants), text, WHITE, icons[i].mirrors, weight)
            variants.append(paint(pictures[i], colour))
            table.variants.append((icons[i].hexcode, colour))
    return table, np.stack(variants)


def prepare(home: Path, size: int = 64) -> Path:
    """Make `home/prepared` from the fetched packages; returns its path."""
    icons = read_icons(home)
    table, pictures = build_pairs(icons, read_pictures(home, icons, size))
    texts = list(table.captions)
    words, pooled = encode(*load_encoder(home), texts, WORDS, progress=True)
    folder = home / "prepared"
    folder.mkdir(exist_ok=True)
    np.save(folder / "pictures.npy", pictures)
    np.save(folder / "words.npy", words.half().numpy())
    np.save(folder / "pooled.npy", pooled.half().numpy())
    picture, caption, background, mirrors, weight = zip(*table.rows, strict=True)
    np.savez(
        folder / "pairs.npz",
        picture=np.array(picture, np.int32),
        caption=np.array(caption, np.int32),
        background=np.array(background, np.uint8),
        mirrors=np.array(mirrors),
        weight=np.array(weight, np.float64),
    )
    (folder / "variants.json").write_text(json.dumps(table.variants))
    (folder / "captions.json").write_text(json.dumps(texts, ensure_ascii=False, indent=0))
    print(
        f"{len(icons)} icons, {len(pictures)} pictures, {len(texts)} captions, {len(table.rows)} pairs in {folder}"
    )
    return folder


@dataclass(frozen=True)
class Batch:
    """image [B, 3, S, S] in [-1, 1], words [B, 12, 384], pooled [B, 384], all float32."""

    image: Tensor
    words: Tensor
    pooled: Tensor


class Dataset:
    """Draws weighted batches from a prepared folder; embeddings stay memory-mapped, shared by all processes."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "pairs.npz").exists():
            raise FileNotFoundError(f"{folder} is not prepared: run `python -m models.house.dataset` first")
        self.pictures = np.load(folder / "pictures.npy", mmap_mode="r")
        self.words = np.load(folder / "words.npy", mmap_mode="r")
        self.pooled = np.load(folder / "pooled.npy", mmap_mode="r")
        with np.load(folder / "pairs.npz") as pairs:
            self.picture, self.caption = pairs["picture"], pairs["caption"]
            self.background, self.mirrors = pairs["background"], pairs["mirrors"]
            self.cumulative = np.cumsum(pairs["weight"])
        self.cumulative /= self.cumulative[-1]

    def batch(self, rng: np.random.Generator, count: int, unconditional: float = 0.1) -> Batch:
        """`count` pairs; a share `unconditional` of them with the empty caption (classifier-free guidance)."""
        rows = np.searchsorted(self.cumulative, rng.random(count)).clip(max=len(self.picture) - 1)
        caption = np.where(rng.random(count) < unconditional, 0, self.caption[rows])
        mirrored = self.mirrors[rows] & (rng.random(count) < 0.5)
        pixels = np.stack(
            [
                onto(self.pictures[self.picture[row]][:, :: -1 if flip else 1], tuple(self.background[row]))
                for row, flip in zip(rows, mirrored, strict=True)
            ]
        )
        image = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
        words = torch.from_numpy(self.words[caption].astype(np.float32))
        return Batch(image, words, torch.from_numpy(self.pooled[caption].astype(np.float32)))


def main() -> None:
    """`python -m models.house.dataset`: fetch what is missing and prepare the training set."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--home", type=Path, default=default_home())
    home = parser.parse_args().home
    fetch(home)
    prepare(home)


if __name__ == "__main__":
    main()
