"""Naming a picture's dominant colour, and painting it in another: pure functions over RGBA arrays."""

from typing import Final

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

# name -> (hue in degrees, factor on saturation, factor on value, offset on value)
PAINTS: Final[dict[str, tuple[float, float, float, float]]] = {
    "red": (358, 1.0, 1.0, 0.0),
    "orange": (27, 1.0, 1.0, 0.0),
    "yellow": (50, 1.0, 0.85, 0.15),
    "green": (125, 0.9, 0.9, 0.0),
    "blue": (215, 1.0, 1.0, 0.0),
    "purple": (273, 0.85, 0.95, 0.0),
    "pink": (335, 0.55, 0.5, 0.5),
    "brown": (24, 0.8, 0.62, 0.0),
    "black": (220, 0.2, 0.3, 0.0),
    "white": (220, 0.08, 0.35, 0.65),
}
HUE_NAMES: Final = (
    (14, "red"), (36, "orange"), (68, "yellow"), (165, "green"), (255, "blue"), (305, "purple"), (338, "pink"), (361, "red"),
)  # fmt: skip
BAND = 38.0  # degrees around the dominant hue that count as that colour
BACKGROUNDS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (226, 60, 60), "orange": (250, 150, 60), "yellow": (250, 214, 70), "green": (90, 185, 100),
    "blue": (80, 140, 240), "purple": (150, 90, 220), "pink": (250, 160, 200), "black": (20, 20, 24), "grey": (150, 152, 158),
}  # fmt: skip


def to_hsv(rgb: Floats) -> tuple[Floats, Floats, Floats]:
    """Hue in degrees [0, 360), saturation and value in [0, 1], of rgb [..., 3] in [0, 1]."""
    high, low = rgb.max(-1), rgb.min(-1)
    spread = high - low
    safe = np.where(spread > 0, spread, 1)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    hue = np.where(
        high == red,
        (green - blue) / safe % 6,
        np.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    saturation = np.where(high > 0, spread / np.where(high > 0, high, 1), 0)
    return (
        (np.where(spread > 0, hue, 0) * 60).astype(np.float32),
        saturation.astype(np.float32),
        high.astype(np.float32),
    )


def to_rgb(hue: Floats, saturation: Floats, value: Floats) -> Floats:
    """The inverse of `to_hsv`."""
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + hue / 60) % 6
        channels.append(value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1))
    return np.stack(channels, -1).astype(np.float32)


def hue_distance(hue: Floats, centre: float) -> Floats:
    """Signed degrees from `centre`, in [-180, 180)."""
    return np.asarray((hue - centre + 180) % 360 - 180, np.float32)


def dominant_hue(rgba: Pixels) -> tuple[float, float]:
    """The strongest hue in degrees and the share of the opaque pixels within `BAND` of it, in [0, 1]."""
    hue, saturation, value = to_hsv(rgba[..., :3].astype(np.float32) / 255)
    opaque = rgba[..., 3] > 128
    vivid = opaque & (saturation > 0.25) & (value > 0.2)
    if vivid.sum() < 20:
        return 0.0, 0.0
    weights = np.bincount((hue[vivid] / 5).astype(int) % 72, (saturation * value)[vivid], 72)
    smooth = sum(np.roll(weights, shift) for shift in range(-4, 5))
    centre = float(np.argmax(smooth)) * 5 + 2.5
    near = vivid & (np.abs(hue_distance(hue, centre)) < BAND)
    mean = centre + float(hue_distance(hue[near], centre).mean())
    return mean % 360, float(near.sum() / opaque.sum())


def colour_name(rgba: Pixels) -> str:
    """The one colour most of the picture has, or '' when it has none."""
    hue, share = dominant_hue(rgba)
    opaque = rgba[..., 3] > 128
    _, saturation, value = to_hsv(rgba[..., :3].astype(np.float32) / 255)
    if share > 0.55:
        name = next(name for limit, name in HUE_NAMES if hue < limit)
        if float(np.median(value[opaque])) < 0.62 and hue < 36:
            return "brown"
        return "pink" if name == "red" and float(np.median(saturation[opaque])) < 0.5 else name
    if opaque.any() and float(np.mean(saturation[opaque] < 0.2)) > 0.7:
        middle = float(np.median(value[opaque]))
        return "white" if middle > 0.82 else "black" if middle < 0.35 else "grey"
    return ""


def paint(rgba: Pixels, colour: str) -> Pixels:
    """The picture with its dominant hue turned to the named colour; other hues, greys and alpha stay."""
    target, saturate, scale, offset = PAINTS[colour]
    centre, _ = dominant_hue(rgba)
    hue, saturation, value = to_hsv(rgba[..., :3].astype(np.float32) / 255)
    distance = hue_distance(hue, centre)
    # A soft edge, so that anti-aliased borders between two colours do not break up.
    share = np.clip((BAND + 12 - np.abs(distance)) / 12, 0, 1) * np.clip(saturation / 0.2, 0, 1)
    painted = to_rgb(
        (target + 0.4 * distance) % 360,
        np.clip(saturation * saturate, 0, 1),
        np.clip(value * scale + offset, 0, 1),
    )
    rgb = rgba[..., :3] / 255 * (1 - share[..., None]) + painted * share[..., None]
    return np.concatenate([(rgb * 255).round().astype(np.uint8), rgba[..., 3:]], -1)


def onto(rgba: Pixels, background: tuple[int, int, int] = (255, 255, 255)) -> Pixels:
    """RGBA [..., 4] laid on one colour: RGB [..., 3]."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    mixed = rgba[..., :3] * alpha + np.array(background, np.float32) * (1 - alpha)
    return np.asarray(mixed.round(), np.uint8)
