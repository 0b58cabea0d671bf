"""Moving pictures: a window that glides over a photograph, and what spoils its motion."""

import cv2
import numpy as np

from tests.unit.quality.pictures import Pixels, photograph

HEIGHT, WIDTH = 144, 192


def glide(name: str = "chelsea", frames: int = 32, speed: float = 2.0) -> list[Pixels]:
    """A camera's even pan over a photograph, `speed` pixels a frame."""
    whole = photograph(name)
    found = []
    for number in range(frames):
        move = np.array([[1, 0, -8 - speed * number], [0, 1, -8 - 0.4 * speed * number]], np.float32)
        window = cv2.warpAffine(whole, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        found.append(np.asarray(window, np.uint8))
    return found


def dropped(frames: list[Pixels], every: int) -> list[Pixels]:
    """Every so many-th frame is missing; 0 drops none."""
    return [frame for number, frame in enumerate(frames) if not every or number % every != every // 2]


def shuffled(frames: list[Pixels], share: float) -> list[Pixels]:
    """A share of the frames stand in each other's places, the same ones in every run."""
    rng = np.random.default_rng(1)
    places = np.sort(rng.permutation(len(frames))[: round(share * len(frames))])
    order = np.arange(len(frames))
    order[places] = rng.permutation(places)
    return [frames[number] for number in order]


def flickering(frames: list[Pixels], levels: int) -> list[Pixels]:
    """Every other frame is brighter, the others darker."""
    signs = [levels if number % 2 else -levels for number in range(len(frames))]
    pairs = zip(frames, signs, strict=True)
    return [np.asarray(np.clip(frame.astype(np.int16) + by, 0, 255), np.uint8) for frame, by in pairs]
