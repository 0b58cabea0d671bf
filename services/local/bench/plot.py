"""The plot: for each path, the share of requests that had ended by a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 960, 540
LEFT, RIGHT, TOP, BOTTOM = 80, 30, 60, 60
COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2")
INK, FAINT, PAPER = "#222222", "#dddddd", "#ffffff"
TICKS = 5


def draw(path: Path, title: str, times: Mapping[str, Sequence[float]]) -> None:
    """Draw cumulative distributions of times in seconds into a PNG file."""
    image = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(15)
    low = 0.0
    high = max(value for values in times.values() for value in values) * 1.05
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(seconds: float) -> float:
        return LEFT + (seconds - low) / (high - low) * (right - LEFT)

    def y(share: float) -> float:
        return bottom - share * (bottom - TOP)

    pen.text((LEFT, 20), title, fill=INK, font=font)
    for tick in range(TICKS + 1):
        share = tick / TICKS
        seconds = low + share * (high - low)
        pen.line([(LEFT, y(share)), (right, y(share))], fill=FAINT)
        pen.line([(x(seconds), TOP), (x(seconds), bottom)], fill=FAINT)
        pen.text((LEFT - 10, y(share)), f"{share:.0%}", fill=INK, font=font, anchor="rm")
        pen.text((x(seconds), bottom + 10), f"{seconds * 1000:.0f} ms", fill=INK, font=font, anchor="mt")
    pen.rectangle([(LEFT, TOP), (right, bottom)], outline=INK)
    for number, (name, values) in enumerate(times.items()):
        colour = COLOURS[number % len(COLOURS)]
        ranked = sorted(values)
        points = [(x(low), y(0.0))]
        for rank, value in enumerate(ranked):
            points += [(x(value), y(rank / len(ranked))), (x(value), y((rank + 1) / len(ranked)))]
        pen.line([*points, (right, y(1.0))], fill=colour, width=3)
        top = TOP + 12 + 22 * number
        pen.rectangle([(LEFT + 15, top + 6), (LEFT + 30, top + 9)], fill=colour)
        pen.text((LEFT + 38, top), name, fill=colour, font=font)
    pen.text(
        ((LEFT + right) / 2, HEIGHT - 12), "time to the last denoising step", fill=INK, font=font, anchor="mb"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "PNG")
