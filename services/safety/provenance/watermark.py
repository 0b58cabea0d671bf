"""An invisible mark in a picture's luminance, found again after JPEG, resizing and cropping.

The mark is one tile of 128 x 128 pixels, repeated over the picture. Each spatial frequency of a band carries a phase
that only the key knows. Half of the frequencies say that the mark is there and where a tile begins; the others are
four groups, and each group tells a symbol of 10 bits by how far its part of the tile is shifted (32 x 32 places, 4
pixels apart). Shifts are orthogonal signals: they are read at far less signal than single bits would be.

A detector folds the picture into one tile, so that what does not repeat averages out, and compares phases. Under any
picture without the mark the differences to a random key's phases are uniform and independent, so the statistic is a
sum of unit vectors whatever the picture is, and its p-value is known (Rayleigh's test, at every shift and scale tried).
"""

import hashlib
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 128  # pixels
LOW, HIGH = 6, 20  # band, in cycles a tile: waves of 21 to 6 pixels, which JPEG 70 and halving both leave
GROUPS = 4
SYMBOL_BITS = 10
SPACING = 4  # pixels between two shifts that mean different symbols
PAYLOAD_BITS = 32

FLAT = 1.2  # the mark's root mean square on a flat ground, in levels of 255
TEXTURED = 0.13  # how much of the ground's own activity is added to that
MOST = 6.0  # levels, the largest root mean square anywhere

STRIP = 1024  # rows marked at one time, whole tiles, so that a large picture takes little more memory than a small one
MARGIN = 48  # rows beside a strip that its strength depends on: the reach of the filters

SCALES = (1.0, 0.5, 2.0, 0.75, 1.5, 2 / 3, 4 / 3, 0.9, 0.8, 0.7, 0.6, 1.25, 0.4, 1 / 3, 0.25, 4.0)
"""By what the picture may have been resized since it was marked, in the order tried."""
THRESHOLD = 1e-6  # the p-value, over all shifts and scales, below which the mark counts as found
LOOKED_AT = (
    1024  # pixels, a side of what is looked at, at the mark's own scale: the middle of a larger picture
)

Plane: TypeAlias = NDArray[np.float32]
Spectrum: TypeAlias = NDArray[np.complex64]


@dataclass(frozen=True)
class Found:
    """What a detector found: `p_value` for all that it tried together, and the symbols read where the mark is."""

    p_value: float
    scale: float = 1.0
    symbols: tuple[int, ...] = ()

    @property
    def marked(self) -> bool:
        """Whether the mark is there."""
        return self.p_value < THRESHOLD

    @property
    def payload(self) -> int | None:
        """The payload, or None where none was read or its checksum does not hold."""
        return payload_of(self.symbols) if self.symbols else None


@dataclass(frozen=True)
class Watermark:
    """A keyed mark; equal keys give equal marks."""

    key: bytes

    def mark(self, picture: NDArray[np.uint8], payload: int) -> NDArray[np.uint8]:
        """Return the picture, uint8 [H,W,3 or 4], with a payload of 32 bits in it; alpha is left alone."""
        height, width = picture.shape[:2]
        wave = np.tile(self._tile(payload), (1, -(-width // TILE)))[:, :width]
        marked = picture.copy()
        for top in range(0, height, STRIP):
            bottom = min(height, top + STRIP)
            above = min(top, MARGIN)
            light = _luminance(picture[top - above : bottom + MARGIN])
            strength = _strength(light)[above : above + bottom - top]
            change = np.tile(wave, (-(-len(strength) // TILE), 1))[: len(strength)] * strength
            colour = picture[top:bottom, :, :3] + change[..., None]
            marked[top:bottom, :, :3] = np.clip(np.rint(colour), 0, 255)
        return marked

    def find(self, picture: NDArray[np.uint8], scales: Sequence[float] = SCALES) -> Found:
        """Look for the mark in a picture, uint8 [H,W,3], resized by any of `scales` since, and cut as it may be."""
        best = Found(1.0)
        for scale in scales:
            spectrum = _phases(_rescaled(_luminance(_middle(picture, round(LOOKED_AT * scale))), 1 / scale))
            z, offset = self._sync(spectrum)
            p_value = min(1.0, math.erfc(z / math.sqrt(2)) / 2 * TILE * TILE * len(scales))
            if p_value < best.p_value:
                best = Found(p_value, scale, self._symbols(spectrum, offset) if p_value < THRESHOLD else ())
            if best.p_value < THRESHOLD**2:
                break
        return best

    @cached_property
    def _keyed(self) -> tuple[Spectrum, list[NDArray[np.bool_]]]:
        """Return the phases of the band and the half planes of bins: the synchronisation's, then each group's."""
        seed = int.from_bytes(hashlib.sha256(b"vmesh-watermark-1" + self.key).digest(), "big")
        random = np.random.Generator(np.random.PCG64(seed))
        bins = np.argwhere(_band())
        order = random.permutation(len(bins))
        phases = np.zeros((TILE, TILE // 2 + 1), np.complex64)
        phases[tuple(bins.T)] = np.exp(2j * np.pi * random.random(len(bins)))
        half, share = len(bins) // 2, len(bins) // (2 * GROUPS)
        parts = [order[:half], *(order[half + k * share :][:share] for k in range(GROUPS))]
        return phases, [_mask(bins[part]) for part in parts]

    def _tile(self, payload: int) -> Plane:
        phases, (sync, *groups) = self._keyed
        spectrum = np.where(sync, phases, 0)
        for group, symbol in zip(groups, symbols(payload), strict=True):
            spectrum = spectrum + np.where(group, phases * _shift(*place(symbol)), 0)
        tile = np.fft.irfft2(spectrum, (TILE, TILE)).astype(np.float32)
        return tile / np.float32(np.sqrt(np.mean(tile**2)))

    def _sync(self, spectrum: Spectrum) -> tuple[float, tuple[int, int]]:
        """Return how many standard deviations the best place of a tile's beginning stands out, and that place."""
        phases, (sync, *_) = self._keyed
        scores = _scores(spectrum, phases, sync)
        row, column = np.unravel_index(int(scores.argmax()), scores.shape)
        return float(scores[row, column]), (int(row), int(column))

    def _symbols(self, spectrum: Spectrum, offset: tuple[int, int]) -> tuple[int, ...]:
        phases, (_, *groups) = self._keyed
        aligned = spectrum * np.conj(_shift(*offset))
        return tuple(int(_scores(aligned, phases, group)[::SPACING, ::SPACING].argmax()) for group in groups)


def symbols(payload: int) -> list[int]:
    """Return a payload of 32 bits and its checksum of 8 as four symbols of 10 bits."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError("a payload has 32 bits")
    word = payload << 8 | _checksum(payload)
    return [word >> SYMBOL_BITS * k & (1 << SYMBOL_BITS) - 1 for k in range(GROUPS)]


def payload_of(read: Sequence[int]) -> int | None:
    """Return what symbols say, or None where the checksum does not hold."""
    word = sum(symbol << SYMBOL_BITS * k for k, symbol in enumerate(read))
    payload = word >> 8
    return payload if _checksum(payload) == word & 0xFF else None


def place(symbol: int) -> tuple[int, int]:
    """Return the shift, in pixels down and right, that means a symbol."""
    row, column = divmod(symbol, TILE // SPACING)
    return row * SPACING, column * SPACING


def _checksum(payload: int) -> int:
    return zlib.crc32(payload.to_bytes(4, "big")) & 0xFF


def _band() -> NDArray[np.bool_]:
    rows = np.fft.fftfreq(TILE, 1 / TILE)[:, None]
    columns = np.arange(TILE // 2 + 1)[None, :]
    radius = np.hypot(rows, columns)
    # The first column holds each frequency twice, as itself and its conjugate.
    return np.asarray((radius >= LOW) & (radius < HIGH) & (columns > 0), bool)


def _mask(bins: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros((TILE, TILE // 2 + 1), bool)
    mask[tuple(bins.T)] = True
    return mask


def _shift(down: int, right: int) -> Spectrum:
    rows = np.fft.fftfreq(TILE)[:, None]
    columns = np.arange(TILE // 2 + 1)[None, :] / TILE
    shift: Spectrum = np.exp(-2j * np.pi * (rows * down + columns * right)).astype(np.complex64)
    return shift


def _scores(spectrum: Spectrum, phases: Spectrum, mask: NDArray[np.bool_]) -> Plane:
    """Return, for every shift, the sum of cosines over the bins of `mask`, in standard deviations under no mark."""
    compared = np.where(mask, spectrum * np.conj(phases), 0)
    # irfft2 counts each bin with its conjugate and divides by the number of pixels.
    total = np.fft.irfft2(compared, (TILE, TILE)) * (TILE * TILE / 2)
    return (total / math.sqrt(mask.sum() / 2)).astype(np.float32)


def _phases(light: Plane) -> Spectrum:
    """Return the phases of a picture folded into one tile, unit vectors."""
    # Edges and textures are brought down to the level of flat grounds, where the mark stands clearest.
    fine = cv2.GaussianBlur(light, (0, 0), 1.2) - cv2.GaussianBlur(light, (0, 0), 6.0)
    activity = cv2.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6.0))
    even = fine / (activity + np.float32(0.5))
    height, width = even.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    padded = np.zeros((rows * TILE, columns * TILE), np.float32)
    padded[:height, :width] = even
    folded = padded.reshape(rows, TILE, columns, TILE).sum(axis=(0, 2))
    spectrum = np.fft.rfft2(folded)
    phases: Spectrum = (spectrum / np.maximum(np.abs(spectrum), 1e-9)).astype(np.complex64)
    return phases


def _strength(light: Plane) -> Plane:
    """Return how strong the mark may be at each pixel, its root mean square in levels."""
    fine = light - cv2.GaussianBlur(light, (0, 0), 4.0)
    activity = cv2.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6.0))
    # A texture hides what lies in it and not what lies beside it: what is calm nearby stays calm.
    calm = cv2.erode(activity, np.ones((9, 9), np.uint8))
    strength: Plane = np.minimum(np.float32(FLAT) + np.float32(TEXTURED) * calm, np.float32(MOST))
    return strength


def _luminance(picture: NDArray[np.uint8]) -> Plane:
    grey: Plane = cv2.cvtColor(picture[..., :3], cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey


def _middle(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    top, left = (max(0, length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def _rescaled(light: Plane, factor: float) -> Plane:
    if factor == 1:
        return light
    height, width = (max(1, round(side * factor)) for side in light.shape)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    resized: Plane = cv2.resize(light, (width, height), interpolation=how).astype(np.float32, copy=False)
    return resized
