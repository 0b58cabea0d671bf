"""Pictures in a terminal: half blocks, two pixels to a character cell."""

from collections.abc import Mapping

from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from scrollintel.visual.cli import png

CELLS = 32
"""Columns of a picture; half as many rows keep its shape."""
GAP = 2
COLOUR_SYSTEMS = ("256", "truecolor", "windows")


def can_show(console: Console) -> bool:
    """Return whether the console is a terminal with enough colours for a picture."""
    return console.is_terminal and console.color_system in COLOUR_SYSTEMS and console.width >= CELLS


def half_blocks(pixels: png.Pixels, columns: int = CELLS) -> list[Text]:
    """Return a picture as lines of half blocks, the upper pixel as foreground and the lower as background."""
    columns = min(columns, pixels.width)
    rows = max(2, round(columns * pixels.height / pixels.width))
    lines = []
    for top in range(0, rows - 1, 2):
        line = Text()
        for x in range(columns):
            upper, lower = (_mean(pixels, x, y, columns, rows) for y in (top, top + 1))
            line.append("▀", Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        lines.append(line)
    return lines


def side_by_side(pictures: Mapping[int, list[Text]], width: int) -> Text:
    """Return as many pictures as fit into `width` columns next to one another, by index."""
    room = max(1, (width + GAP) // (CELLS + GAP))
    shown = [pictures[index] for index in sorted(pictures)][:room]
    height = max((len(lines) for lines in shown), default=0)
    padded = [[*lines, *[Text(" " * CELLS)] * (height - len(lines))] for lines in shown]
    return Text("\n").join(Text(" " * GAP).join(row) for row in zip(*padded, strict=True))


def _mean(pixels: png.Pixels, x: int, y: int, columns: int, rows: int) -> tuple[int, int, int]:
    xs = range(
        x * pixels.width // columns, max((x + 1) * pixels.width // columns, x * pixels.width // columns + 1)
    )
    ys = range(y * pixels.height // rows, max((y + 1) * pixels.height // rows, y * pixels.height // rows + 1))
    samples = [pixels.rgb(i, j) for j in ys for i in xs]
    red, green, blue = (sum(channel) // len(samples) for channel in zip(*samples, strict=True))
    return red, green, blue
