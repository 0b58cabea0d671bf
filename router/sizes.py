"""Which of a model's sizes serves a request best. Pure."""

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from pydantic import Field


class Size(NamedTuple):
    """Width and height in pixels."""

    width: Annotated[int, Field(ge=1, le=8192)]
    height: Annotated[int, Field(ge=1, le=8192)]


def nearest(sizes: Sequence[Size], wanted: Size) -> Size:
    """Return the size whose shape is nearest to the wanted one and, among equals, whose area is.

    Shape comes first: a picture is brought to its size without loss of meaning, and to its shape only by inventing
    what is beside it. Both are compared as ratios, so twice too large is as far as half too small.
    """

    def distance(size: Size) -> tuple[float, float]:
        shape = math.log(size.width / size.height) - math.log(wanted.width / wanted.height)
        area = math.log(size.width * size.height) - math.log(wanted.width * wanted.height)
        return round(abs(shape), 6), abs(area)

    return min(sizes, key=distance)
