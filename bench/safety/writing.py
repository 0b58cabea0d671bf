"""Measure what the check of writing in pictures reads, refuses and costs.

    python -m bench.safety.writing --triton ADDRESS [--cjk FONT] [--pictures FOLDER]

Texts are drawn on scikit-image's photographs, enlarged to 1024 x 1024, with the fonts that come with matplotlib. Chinese
needs a font of its own (Debian's fonts-droid-fallback has one). FOLDER holds more pictures without text.
"""

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table
from skimage import data

from services.runtime.triton import TritonClient
from services.safety.category import Action
from services.safety.pictures import lines
from services.safety.pictures.checker import Pixels, Shown
from services.safety.pictures.writing import Writing
from services.safety.policy import strongest
from services.safety.policyfile import load_book
from services.safety.rulebook import load_disguises, load_rules

TEXTS = Path(__file__).with_name("writing.yaml")
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
SIDE, SECONDS = 1024, 60.0
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
TEXTLESS = (*PHOTOGRAPHS, "brick", "camera", "coins", "grass", "gravel", "moon", "retina", "horse", "hubble_deep_field", "immunohistochemistry", "colorwheel", "cell")  # fmt: skip
SENTENCES = (
    "The quick brown fox jumps",
    "over thirteen lazy dogs",
    "Pack my box with five",
    "dozen jugs, 24 in all",
)


@dataclass(frozen=True)
class Style:
    """How a text is drawn: `height` is the font's size in pixels, `contrast` the step in grey from a plain plate."""

    font: str = "DejaVuSans.ttf"
    height: int = 32
    angle: float = 0.0
    contrast: int | None = None


def photograph(name: str) -> Pixels:
    """Return one of scikit-image's pictures, UINT8 [1024,1024,3]."""
    picture = np.asarray(getattr(data, name)())
    picture = (picture * 255).astype(np.uint8) if picture.dtype != np.uint8 else picture
    picture = np.dstack([picture] * 3) if picture.ndim == 2 else picture[..., :3]
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def drawn(picture: Pixels, text: str, style: Style, cjk: Path | None = None) -> Pixels:
    """Return a picture with a text in its middle: white with a dark edge, or grey on a plate where contrast is given."""
    path = cjk if cjk and any(ord(letter) > 0x2E7F for letter in text) else FONTS / style.font
    font = ImageFont.truetype(str(path), style.height)
    edge = 0 if style.contrast is not None else max(1, style.height // 16)
    left, top, right, bottom = font.getbbox(text, stroke_width=edge)
    pad = style.height // 2
    plate = Image.new("RGBA", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad), (0, 0, 0, 0))
    colour = (255, 255, 255, 255)
    if style.contrast is not None:
        plate.paste((128, 128, 128, 255), (0, 0, *plate.size))
        colour = (*[128 + style.contrast] * 3, 255)
    ImageDraw.Draw(plate).text(
        (pad - left, pad - top), text, colour, font, stroke_width=edge, stroke_fill=(0, 0, 0, 255)
    )
    if style.angle:
        plate = plate.rotate(style.angle, Image.Resampling.BICUBIC, expand=True)
    whole = Image.fromarray(picture)
    whole.paste(plate, ((SIDE - plate.width) // 2, (SIDE - plate.height) // 2), plate)
    return np.asarray(whole, np.uint8)


def accuracy(read: str, drawn_text: str) -> float:
    """Return 1 less the edits from what was drawn to what was read, over its length; 0 at worst. Case does not count."""
    got, wanted = (" ".join(text.casefold().split()) for text in (read, drawn_text))
    row = list(range(len(got) + 1))
    for index, letter in enumerate(wanted, 1):
        before, row[0] = row[0], index
        for place, other in enumerate(got, 1):
            before, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, before + (letter != other)),
            )
    return max(0.0, 1 - row[-1] / max(1, len(wanted)))


STANDARD = Style()
SERIES: dict[str, Sequence[tuple[str, Style]]] = {
    "font, 32 px": [
        (name, replace(STANDARD, font=file))
        for name, file in (
            ("DejaVu Sans", "DejaVuSans.ttf"), ("DejaVu Sans Bold", "DejaVuSans-Bold.ttf"),
            ("DejaVu Serif Italic", "DejaVuSerif-Italic.ttf"), ("DejaVu Sans Mono", "DejaVuSansMono.ttf"),
            ("STIX (Times)", "STIXGeneral.ttf"), ("STIX Bold Italic", "STIXGeneralBolIta.ttf"),
            ("Computer Modern Italic", "cmti10.ttf"), ("Computer Modern Typewriter", "cmtt10.ttf"),
        )
    ],
    "size, DejaVu Sans": [(f"{px} px", replace(STANDARD, height=px)) for px in (10, 12, 14, 16, 20, 24, 32, 48, 64)],
    "rotation, 32 px": [(f"{deg}°", replace(STANDARD, angle=deg)) for deg in (5, 15, 30, 45, 60, 90, 180, 270)],
    "contrast on grey, 32 px": [(f"{step} of 255", replace(STANDARD, contrast=step)) for step in (4, 8, 16, 32, 64, 127)],
}  # fmt: skip


async def characters(writing: Writing) -> Table:
    """Return how much of harmless sentences is read, one property of the drawing at a time."""
    table = Table("drawn", "", "characters read rightly", "lines found")
    for series, styles in SERIES.items():
        for name, style in styles:
            shares = []
            for photo in PHOTOGRAPHS:
                for sentence in SENTENCES:
                    read = await writing.read(drawn(photograph(photo), sentence, style))
                    shares.append(accuracy(read, sentence))
            found = sum(share > 0 for share in shares)
            table.add_row(series, name, f"{np.mean(shares):.0%}", f"{found} of {len(shares)}")
    return table


async def refusals(writing: Writing, judge: Callable[[Pixels], Shown], cjk: Path | None) -> Table:
    """Return how many texts are refused when they are drawn, beside those that are refused when they are typed."""
    styles = {
        "poster, 96 px": Style(height=96, font="DejaVuSans-Bold.ttf"),
        "sign, 40 px": Style(height=40),
        "small, 20 px": Style(height=20),
        "serif italic, 32 px, 15°": Style(font="DejaVuSerif-Italic.ttf", angle=15),
        "faint, 32 px, 32 of 255": Style(contrast=32),
    }
    table = Table("", "typed", *styles)
    for kind, texts in yaml.safe_load(TEXTS.read_text("utf-8")).items():
        usable = [text for text in texts if cjk or text.isascii() or ord(max(text)) < 0x2E80]
        held = judge(photograph("coffee")).held
        typed = sum(
            strongest(held.policy.judge(writing.rules.check(text))) is Action.BLOCK for text in usable
        )
        row = []
        for style in styles.values():
            refused = 0
            for index, text in enumerate(usable):
                base = photograph(PHOTOGRAPHS[index % len(PHOTOGRAPHS)])
                fitted = replace(style, height=min(style.height, int(1.5 * SIDE / len(text))))
                shown = judge(drawn(base, text, fitted, cjk))
                signals = (await writing.check(shown)).signals
                refused += strongest(held.policy.judge(signals)) is Action.BLOCK
            row.append(f"{refused} of {len(usable)}")
        table.add_row(kind, f"{typed} of {len(usable)}", *row)
    return table


def textless(folder: Path | None) -> Iterator[Pixels]:
    """Yield pictures without text."""
    for name in TEXTLESS:
        yield photograph(name)
    for path in sorted(folder.rglob("*.webp"))[:400] if folder else ():
        picture = Image.open(path).convert("RGBA")
        yield np.asarray(
            Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
        )


async def idle(writing: Writing, judge: Callable[[Pixels], Shown], folder: Path | None) -> Table:
    """Return what is read and refused where nothing is written."""
    pictures = read = found = 0
    for picture in textless(folder):
        pictures += 1
        read += bool(await writing.read(picture))
        found += bool((await writing.check(judge(picture))).signals)
    table = Table("pictures without text", "something read", "any finding")
    table.add_row(str(pictures), str(read), str(found))
    return table


async def seconds(writing: Writing, judge: Callable[[Pixels], Shown]) -> Table:
    """Return how long one check takes by how many lines there are."""
    table = Table("at 1024 x 1024", "P50 ms", "P90 ms")
    cases = {"no text": 0, "1 line": 1, "8 lines": 8, "32 lines": 32, "64 lines": 64}
    for name, count in cases.items():
        picture = photograph("coffee")
        font = ImageFont.truetype(str(FONTS / STANDARD.font), 20)
        whole = Image.fromarray(picture)
        for index in range(count):
            place = (30 + 512 * (index // 32), 10 + 31 * (index % 32))
            ImageDraw.Draw(whole).text(
                place, SENTENCES[index % 4], "white", font, stroke_width=2, stroke_fill="black"
            )
        shown, times = judge(np.asarray(whole, np.uint8)), []
        for _ in range(15):
            begun = time.perf_counter()
            await writing.check(shown)
            times.append(1000 * (time.perf_counter() - begun))
        table.add_row(name, f"{np.median(times):.0f}", f"{np.quantile(times, 0.9):.0f}")
    return table


async def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--triton", required=True, help="its gRPC address")
    parser.add_argument("--cjk", type=Path, help="a font with Chinese characters")
    parser.add_argument("--pictures", type=Path, help="a folder of more pictures without text, .webp")
    parser.add_argument("--only", choices=["characters", "refusals", "idle", "seconds"])
    given = parser.parse_args()
    rules, book = load_rules(), load_book(None, load_disguises())
    console = Console(width=140)
    async with TritonClient(given.triton) as triton:
        writing = Writing(triton, rules, SECONDS)

        def judge(picture: Pixels) -> Shown:
            return Shown(picture, "", book)

        parts = {
            "characters": lambda: characters(writing),
            "refusals": lambda: refusals(writing, judge, given.cjk),
            "idle": lambda: idle(writing, judge, given.pictures),
            "seconds": lambda: seconds(writing, judge),
        }
        for name, part in parts.items():
            if given.only in (None, name):
                console.print(await part())
        console.print(f"load {os.getloadavg()[0]:.1f}; detector shown {lines.AREA} pixels")


if __name__ == "__main__":
    asyncio.run(main())
