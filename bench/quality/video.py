"""What is said of a video whose motion is spoilt: `python -m bench.quality.video`.

A window of 224 × 160 glides 2.5 pixels a frame over a photograph, 48 frames.
"""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.quality.spoiling import Pixels, photographs
from services.quality.metrics.motion import Motion

FRAMES, SPEED = 48, 2.5
WIDTH, HEIGHT = 224, 160
NAMES = ("astronaut", "chelsea", "coffee", "camera")


def glide(picture: Pixels) -> list[Pixels]:
    """Return the frames of a pan over a picture."""
    found = []
    for number in range(FRAMES):
        move = np.array(
            [[1, 0, -8 - SPEED * number], [0, 1, -8 - 0.4 * SPEED * number]],
            np.float32,
        )
        window = cv2.warpAffine(picture, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        found.append(np.asarray(window, np.uint8))
    return found


def _kept(frames: list[Pixels], numbers: np.ndarray) -> list[Pixels]:
    return [frames[number] for number in numbers]


def _without(every: int) -> Callable[[list[Pixels]], list[Pixels]]:
    return lambda frames: [frame for number, frame in enumerate(frames) if number % every != every // 2]


def _shuffled(share: float) -> Callable[[list[Pixels]], list[Pixels]]:
    def shuffle(frames: list[Pixels]) -> list[Pixels]:
        rng = np.random.default_rng(0)
        places = np.sort(rng.permutation(len(frames))[: int(share * len(frames))])
        order = np.arange(len(frames))
        order[places] = rng.permutation(places)
        return _kept(frames, order)

    return shuffle


def _halved(frames: list[Pixels]) -> list[Pixels]:
    return _kept(frames, np.sort(np.random.default_rng(0).permutation(len(frames))[: len(frames) // 2]))


def _doubled(frames: list[Pixels]) -> list[Pixels]:
    return [frames[number - (number % 4 == 3)] for number in range(len(frames))]


def _flicker(levels: int) -> Callable[[list[Pixels]], list[Pixels]]:
    return lambda frames: [
        np.asarray(np.clip(frame.astype(np.int16) + levels * (-1) ** number, 0, 255), np.uint8)
        for number, frame in enumerate(frames)
    ]


def _noise(frames: list[Pixels]) -> list[Pixels]:
    rng = np.random.default_rng(0)
    return [np.asarray(np.clip(frame + rng.normal(0, 8, frame.shape), 0, 255), np.uint8) for frame in frames]


SPOILERS: Mapping[str, Callable[[list[Pixels]], list[Pixels]]] = {
    "as it is": lambda frames: frames,
    "one of 8 dropped": _without(8),
    "one of 4 dropped": _without(4),
    "half dropped at random": _halved,
    "one of 4 doubled": _doubled,
    "10 % shuffled": _shuffled(0.1),
    "25 % shuffled": _shuffled(0.25),
    "all shuffled": _shuffled(1),
    "flicker, 2 levels": _flicker(2),
    "flicker, 6 levels": _flicker(6),
    "flicker, 12 levels": _flicker(12),
    "noise, 8 levels": _noise,
}


def main() -> None:
    """Measure and print the table."""
    table = Table("smoothness / consistency", *NAMES)
    videos = {name: glide(photographs()[name]) for name in NAMES}
    for spoiler, spoil in SPOILERS.items():
        told = []
        for name in NAMES:
            motion = Motion()
            for frame in spoil(videos[name]):
                motion.add(frame)
            told.append(f"{motion.smoothness:.2f} / {motion.consistency:.2f}")
        table.add_row(spoiler, *told)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
