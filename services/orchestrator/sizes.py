"""Which size a picture shall have, from what was asked."""

from dataclasses import dataclass

SHORTEST, LONGEST = 256, 2048  # pixels, inclusive
DEFAULT_SIDE = 1024  # pixels: the longer side where only a shape, or nothing, is given


@dataclass(frozen=True)
class Size:
    """A size in pixels."""

    width: int
    height: int


@dataclass(eq=False)
class SizeError(Exception):
    """A shape that gives a side outside 256 to 2048 pixels; `rule` says which and what to do."""

    rule: str
    field: str = "aspect_ratio"


def target_size(width: int | None, height: int | None, aspect_ratio: str) -> Size:
    """Return the size in pixels of what is delivered.

    Given sides win. One side takes the other from `aspect_ratio` (`16:9`, width to height; empty is 1:1).
    `aspect_ratio` alone makes the longer side 1024. Sides are rounded to the nearest pixel.
    Raises SizeError when a side that follows from `aspect_ratio` is outside 256 to 2048.
    """
    across, down = (int(part) for part in (aspect_ratio or "1:1").split(":"))
    if width is not None and height is not None:
        return Size(width, height)
    if width is not None:
        return Size(width, _side(aspect_ratio, "height", width, down, across))
    if height is not None:
        return Size(_side(aspect_ratio, "width", height, across, down), height)
    if across >= down:
        return Size(DEFAULT_SIDE, _side(aspect_ratio, "height", DEFAULT_SIDE, down, across))
    return Size(_side(aspect_ratio, "width", DEFAULT_SIDE, across, down), DEFAULT_SIDE)


def _side(aspect_ratio: str, name: str, other: int, part: int, whole: int) -> int:
    side = (2 * other * part + whole) // (2 * whole)
    if SHORTEST <= side <= LONGEST:
        return side
    raise SizeError(
        f"gives a {name} of {side} pixels; sides go from {SHORTEST} to {LONGEST}: "
        f"take a ratio nearer to 1:1 than {aspect_ratio}, or set the other side"
    )
