"""Measure which copies of a protected work are found, which other pictures are taken for copies, and how long it takes.

    python -m bench.safety.works [--pictures FOLDER]

The pictures are scikit-image's photographs, the drawings of docs/images/contact-sheet.png and up to 200 of a FOLDER of .webp
files. Their names split them into two halves: distances were chosen on the first, and the second is reported.
"""

import argparse
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table
from skimage import data

from bench.quality.likeness import MODEL, drawings
from services.safety.pictures.works import ALIKE, ALONE, DOUBTFUL, SEVERITIES
from services.safety.works import pdq
from services.safety.works.embedding import LENGTH, view_of
from services.safety.works.rpcs import PLAINEST
from services.safety.works.shelf import Shelf

Pixels = NDArray[np.uint8]

PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "cell", "chelsea", "clock", "coffee", "coins", "colorwheel", "grass", "gravel", "horse",
    "hubble_deep_field", "immunohistochemistry", "logo", "moon", "page", "retina", "rocket", "text",
)  # fmt: skip
MOST = 200


def _jpeg(picture: Pixels, quality: int) -> Pixels:
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)


def _hue(picture: Pixels, degrees: int) -> Pixels:
    turned = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    turned[..., 0] = (turned[..., 0].astype(int) + degrees // 2) % 180
    return np.asarray(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB), np.uint8)


def _rotated(picture: Pixels, degrees: float) -> Pixels:
    height, width = picture.shape[:2]
    way = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return np.asarray(
        cv2.warpAffine(picture, way, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _cropped(picture: Pixels, share: float) -> Pixels:
    height, width = picture.shape[:2]
    top, left = int((1 - share) * height / 3), int((1 - share) * width * 2 / 3)
    return np.ascontiguousarray(picture[top : top + int(share * height), left : left + int(share * width)])


def _bordered(picture: Pixels, share: float) -> Pixels:
    down, across = (max(1, int(share * side)) for side in picture.shape[:2])
    border = cv2.copyMakeBorder(picture, down, down, across, across, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return np.asarray(border, np.uint8)


def _lettered(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    size, place = width / 320, (width // 12, height // 2)
    return np.asarray(
        cv2.putText(picture.copy(), "SALE TODAY", place, 0, size, (255, 0, 0), max(1, width // 120)), np.uint8
    )


COPIES: Mapping[str, Callable[[Pixels], Pixels]] = {
    "as it is": lambda p: p,
    "JPEG 30": lambda p: _jpeg(p, 30),
    "half the size": lambda p: np.asarray(
        cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8
    ),
    "noise of 12": lambda p: np.clip(p + np.random.default_rng(0).normal(0, 12, p.shape), 0, 255).astype(
        np.uint8
    ),
    "gamma 0.6": lambda p: (255 * (p / 255) ** 0.6).astype(np.uint8),
    "grey": lambda p: np.dstack([np.asarray(cv2.cvtColor(p, cv2.COLOR_RGB2GRAY), np.uint8)] * 3),
    "other colours (hue by 120°)": lambda p: _hue(p, 120),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "turned by 90°": lambda p: np.ascontiguousarray(np.rot90(p)),
    "lettering across it": _lettered,
    "turned by 2°": lambda p: _rotated(p, 2),
    "turned by 5°": lambda p: _rotated(p, 5),
    "turned by 15°": lambda p: _rotated(p, 15),
    "crop to 98 %": lambda p: _cropped(p, 0.98),
    "crop to 95 %": lambda p: _cropped(p, 0.95),
    "crop to 90 %": lambda p: _cropped(p, 0.9),
    "crop to 75 %": lambda p: _cropped(p, 0.75),
    "crop to 50 %": lambda p: _cropped(p, 0.5),
    "border of 2 %": lambda p: _bordered(p, 0.02),
    "border of 10 %": lambda p: _bordered(p, 0.1),
}


def pictures(folder: Path | None) -> dict[str, Pixels]:
    """Return pictures UINT8 [H,W,3] by name."""
    found = {name: _rgb(getattr(data, name)()) for name in PHOTOGRAPHS}
    found |= {f"drawing {index}": np.ascontiguousarray(each) for index, each in enumerate(drawings())}
    paths = sorted(folder.rglob("*.webp")) if folder else []
    for path in paths[:: max(1, len(paths) // MOST)][:MOST]:
        picture = Image.open(path).convert("RGBA")
        found[path.name] = np.asarray(
            Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        )[..., :3]
    return {name: np.ascontiguousarray(picture) for name, picture in found.items()}


def _rgb(given: object) -> Pixels:
    picture = np.asarray(given)
    picture = picture if picture.dtype == np.uint8 else (picture * 255).astype(np.uint8)
    return np.dstack([picture] * 3) if picture.ndim == 2 else np.ascontiguousarray(picture[..., :3])


def in_first_half(name: str) -> bool:
    """Tell whether a picture is one of those that distances were chosen on."""
    return hashlib.sha256(name.encode()).digest()[0] % 2 == 0


def distances(seen: pdq.Hash, works: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how far a picture, in its nearest variant, is from each of [N,32] works."""
    return np.unpackbits(seen.variants[:, None] ^ works[None], axis=2).sum(axis=2, dtype=np.int64).min(axis=0)


def embedded(shown: list[Pixels]) -> NDArray[np.float32]:
    """Return the house matcher's embeddings [N,256]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])
    parts = [
        session.run(
            ["embedding"],
            {"image": np.stack([view_of(each) for each in shown[at : at + 16]])},
        )[0]
        for at in range(0, len(shown), 16)
    ]
    return np.concatenate(parts)


def found(works: list[Pixels]) -> Table:
    """Return the share of copies that are found, and how many pairs of works are taken for copies."""
    hashes = [pdq.hash_of(work) for work in works]
    usable = [index for index, each in enumerate(hashes) if each.quality >= PLAINEST]
    works, hashes = [works[index] for index in usable], [hashes[index] for index in usable]
    own = np.stack([each.own for each in hashes])
    vectors = embedded(works)
    steps = [most for most, _ in SEVERITIES]
    doubtful = f"or ≤ {DOUBTFUL} and cosine ≥ {ALIKE}"
    table = Table(f"{len(works)} works", *(f"distance ≤ {most}" for most in steps), doubtful, "cosine alone")
    for name, copy in COPIES.items():
        copies = [copy(work) for work in works]
        far = np.array([distances(pdq.hash_of(each), own[at : at + 1])[0] for at, each in enumerate(copies)])
        alike = (embedded(copies) * vectors).sum(axis=1) >= ALIKE
        either = (far <= ALONE) | ((far <= DOUBTFUL) & alike)
        shares = [far <= most for most in steps] + [either, alike]
        table.add_row(name, *(f"{share.mean():.0%}" for share in shares))
    between = np.stack([distances(each, own) for each in hashes])
    np.fill_diagonal(between, pdq.BITS)
    alike = vectors @ vectors.T >= ALIKE
    np.fill_diagonal(alike, False)
    either = (between <= ALONE) | ((between <= DOUBTFUL) & alike)
    taken = [between <= most for most in steps] + [either, alike]
    count = f"pairs of two works, of {len(works) * (len(works) - 1) // 2:,}"
    table.add_row(count, *(str(np.triu(pairs, 1).sum()) for pairs in taken))
    return table


def seconds() -> Table:
    """Return how long hashing and looking up take."""
    table = Table("", "P50 ms")
    picture = np.asarray(cv2.resize(data.coffee(), (1024, 1024)), np.uint8)
    seen = pdq.hash_of(picture)
    table.add_row("hash 1024 x 1024", _median(lambda: pdq.hash_of(picture)))
    noise = np.random.default_rng(0)
    for count in (1_000, 10_000, 100_000):
        hashes = noise.integers(0, 256, (count, pdq.BYTES)).astype(np.uint8)
        vectors = np.zeros((count, LENGTH), np.float16)
        shelf = Shelf.empty().with_more(count, [str(index) for index in range(count)], hashes, vectors)
        table.add_row(f"look up among {count:,}", _median(lambda shelf=shelf: shelf.nearest(seen, DOUBTFUL)))
    return table


def _median(work: Callable[[], object]) -> str:
    times = []
    for _ in range(21):
        begun = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begun))
    return f"{np.median(times):.1f}"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, help="a folder of more pictures, .webp")
    given = parser.parse_args()
    console = Console(width=120)
    console.print(seconds())
    shown = pictures(given.pictures)
    for first in (False, True):
        console.print("chosen on" if first else "reported on")
        console.print(found([picture for name, picture in shown.items() if in_first_half(name) is first]))
    console.print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
