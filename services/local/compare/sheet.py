"""Contact sheets: pictures in rows and columns, each with its words below it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from scrollintel.visual.exceptions import VisualMeshError
from services.local.compare.figures import Outcome
from services.local.compare.prompts import Prompt

TILE = 256  # pixels: the longest side of a picture on a sheet
GAP = 12
LINE = 18  # pixels from one line of text to the next
TEXT = 14
INK, FAINT, PAPER, ABSENT = "#222222", "#666666", "#ffffff", "#e4e4e4"
CAPTION_LINES = 2
FAILURE_LINES = 8


@dataclass(frozen=True)
class Tile:
    """A place on a sheet: a picture, or the words of why there is none, and the lines below."""

    picture: Image.Image | None
    caption: Sequence[str] = ()
    failure: str = ""


def grid(tiles: Sequence[Tile], columns: int, side: int = TILE, lines: int = 1) -> Image.Image:
    """Return tiles in rows of `columns`, each with room for `lines` of text below it."""
    rows = -(-len(tiles) // columns)
    height = side + lines * LINE + GAP
    sheet = Image.new("RGB", (columns * (side + GAP) + GAP, rows * height + GAP), PAPER)
    for index, tile in enumerate(tiles):
        at = (GAP + index % columns * (side + GAP), GAP + index // columns * height)
        _put(sheet, tile, at, side)
    return sheet


def draw(
    prompts: Sequence[Prompt], models: Sequence[str], outcomes: Mapping[tuple[str, str], Outcome]
) -> Image.Image:
    """Return the sheet of a comparison: a row for each prompt, which stands above it, and a column for each model.

    `outcomes` are by the prompt's name and the model. Reads the pictures' files: call it off the event loop.
    """
    width = len(models) * (TILE + GAP) + GAP
    bands = [_band([f"{prompt.text}"], width) for prompt in prompts]
    rows = [
        grid([_tile(outcomes[prompt.name, model]) for model in models], len(models), TILE, CAPTION_LINES)
        for prompt in prompts
    ]
    parts = [part for pair in zip(bands, rows, strict=True) for part in pair]
    sheet = Image.new("RGB", (width, sum(part.height for part in parts)), PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return sheet


def caption(outcome: Outcome) -> tuple[str, str]:
    """Return the two lines below a picture: the model, and its figures."""
    told = []
    if (overall := outcome.figure("overall")) is not None:
        told.append(f"quality {overall:.2f}")
    if outcome.seconds is not None:
        told.append(f"{outcome.seconds:.1f} s{' cold' if outcome.cold else ''}")
    if outcome.cost_usd is not None:
        told.append(f"${outcome.cost_usd:.3f}" if outcome.cost_usd else "$0")
    return outcome.model, " · ".join(told) or "nothing was made"


def why(error: VisualMeshError) -> str:
    """Return a failure in words, without the path of the field: of what was asked, only the model differs."""
    return error.message.removeprefix(f"{error.field}: ") or error.reason or error.code


def wrapped(text: str, width: float) -> list[str]:
    """Return a text in lines of at most `width` pixels; a word that is longer is cut."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if _font().getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        line = word
        while _font().getlength(line) > width and len(line) > 1:
            cut = next(
                n for n in range(len(line) - 1, 0, -1) if n == 1 or _font().getlength(line[:n]) <= width
            )
            lines.append(line[:cut])
            line = line[cut:]
    return [*lines, line] if line else lines


def _tile(outcome: Outcome) -> Tile:
    if outcome.error is not None or outcome.path is None:
        failure = why(outcome.error) if outcome.error else "its picture could not be read"
        return Tile(None, caption(outcome), failure)
    return Tile(_read(outcome.path), caption(outcome))


def _read(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return ImageOps.contain(picture.convert("RGB"), (TILE, TILE), Image.Resampling.LANCZOS)


def _put(sheet: Image.Image, tile: Tile, at: tuple[int, int], side: int) -> None:
    pen, (left, top) = ImageDraw.Draw(sheet), at
    if tile.picture is None:
        pen.rectangle((left, top, left + side, top + side), ABSENT)
        for number, line in enumerate(wrapped(tile.failure, side - 2 * GAP)[:FAILURE_LINES]):
            pen.text((left + GAP, top + GAP + number * LINE), line, INK, _font())
    else:
        picture = ImageOps.contain(tile.picture, (side, side), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + (side - picture.width) // 2, top + (side - picture.height) // 2))
    for number, text in enumerate(tile.caption):
        fitting = (wrapped(text, side) or [""])[0]
        pen.text((left, top + side + 2 + number * LINE), fitting, FAINT if number else INK, _font())


def _band(texts: Sequence[str], width: int) -> Image.Image:
    lines = [line for text in texts for line in wrapped(text, width - 2 * GAP)]
    band = Image.new("RGB", (width, GAP + len(lines) * LINE), PAPER)
    for number, line in enumerate(lines):
        ImageDraw.Draw(band).text((GAP, GAP + number * LINE), line, INK, _font())
    return band


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)
