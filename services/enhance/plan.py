"""In which passes a picture reaches the size that was asked for.

The model enlarges by 4 and by nothing else, and on two CPU cores it costs about 20 microseconds an input pixel. So:

- the first enlargement is the model's, for that is what the caller asked for;
- a further one is the model's while its input is at most `CHAINED_PIXELS` (1.3 s) and anything is missing. Two passes
  and an area filter back to 512 or 288 show clean edges where one pass shows a dotted pattern along them;
- everything else is resampled. From 1024 to 2048 the model took 30 s and Lanczos 0.1 s for pictures that differ in
  a slightly harder edge: what the model has drawn twice holds no detail for a third pass to bring out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

MODEL_FACTOR = 4
CHAINED_PIXELS = 256 * 256
MAXIMUM_MODEL_PIXELS = 1_300_000  # what the model makes of them, 48 bytes each, still fits into one message
MAXIMUM_SIDE = 8192
MAXIMUM_PIXELS = 8192 * 8192


class PlanError(ValueError):
    """It cannot be done; `field` says which field of the operation asks for too much, empty for the whole operation."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(rule)
        self.field = field


@dataclass(frozen=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many pixels that is."""
        return self.width * self.height

    def times(self, factor: float) -> "Size":
        """Return the size enlarged by `factor` on both sides, rounded, at least 1."""
        return Size(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def __str__(self) -> str:
        return f"{self.width} × {self.height}"


@dataclass(frozen=True)
class Enlarge:
    """Run the model once: four times the size."""

    variant: str


@dataclass(frozen=True)
class Filter:
    """Run a model that gives back a picture of the same size."""

    model: str


@dataclass(frozen=True)
class RestoreFaces:
    """Find faces and run a restoration model on each."""

    fidelity: float


@dataclass(frozen=True)
class Resize:
    """Resample to a size: area filter where it gets smaller, Lanczos where it gets larger."""

    size: Size


@dataclass(frozen=True)
class Extend:
    """Centre the picture on a larger canvas and continue its border."""

    canvas: Size


Pass: TypeAlias = Enlarge | Filter | RestoreFaces | Resize | Extend


def plan_factor(source: Size, factor: int, variant: str) -> tuple[Pass, ...]:
    """Plan an enlargement by `factor` (2 or 4). Raises PlanError."""
    target = source.times(factor)
    _check(source, target, "factor")
    return tuple(_scale(source, target, variant))


def plan_size(source: Size, canvas: Size, variant: str) -> tuple[Pass, ...]:
    """Plan the way to a canvas; the picture keeps its shape and touches two opposite sides. Raises PlanError."""
    fitted = fit(source, canvas)
    _check(source, canvas, "size")
    extension = (Extend(canvas),) if fitted != canvas else ()
    return (*_scale(source, fitted, variant), *extension)


def plan_filter(source: Size, model: str, maximum: int) -> tuple[Pass, ...]:
    """Plan the pass over a whole picture of a model that takes at most `maximum` pixels. Raises PlanError."""
    if source.pixels > maximum:
        rule = f"is for pictures of at most {maximum} pixels; this one has {source} by then"
        raise PlanError("", rule)
    return (Filter(model),)


def fit(source: Size, canvas: Size) -> Size:
    """Return the largest size of `source`'s shape inside `canvas`."""
    scaled = source.times(min(canvas.width / source.width, canvas.height / source.height))
    return Size(min(scaled.width, canvas.width), min(scaled.height, canvas.height))


def result_size(source: Size, passes: tuple[Pass, ...]) -> Size:
    """Return the size that a picture has after the passes."""
    for step in passes:
        match step:
            case Enlarge():
                source = source.times(MODEL_FACTOR)
            case Resize(size):
                source = size
            case Extend(canvas):
                source = canvas
            case Filter() | RestoreFaces():
                pass
    return source


def _scale(source: Size, target: Size, variant: str) -> Iterator[Pass]:
    size = source
    while size.pixels < target.pixels and (size == source or size.pixels <= CHAINED_PIXELS):
        yield Enlarge(variant)
        size = size.times(MODEL_FACTOR)
    if size != target:
        yield Resize(target)


def _check(source: Size, target: Size, field: str) -> None:
    if max(target.width, target.height) > MAXIMUM_SIDE or target.pixels > MAXIMUM_PIXELS:
        raise PlanError(field, f"gives {target}; a result has at most {MAXIMUM_SIDE} pixels on a side")
    if source.pixels > MAXIMUM_MODEL_PIXELS and source.pixels < target.pixels:
        raise PlanError(
            field, f"enlarges a picture of {source}; at most {MAXIMUM_MODEL_PIXELS} pixels can be enlarged"
        )
