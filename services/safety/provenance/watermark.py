"""An invisible mark in a picture's luminance, found again after JPEG, resizing and cropping.

The mark is one tile of 128 x 128 pixels, repeated over the picture. Each spatial frequency of a band carries a phase
that only the key knows. Half of the frequencies say that the mark is there and where a tile begins; the others are
four groups, and each group tells a symbol of 10 bits by how far its part of the tile is shifted (32 x 32 places, 4
pixels apart). Shifts are orthogonal signals: they are read at far less signal than single bits would be.

A detector folds the picture into one tile, so that what does not repeat averages out, and compares phases. Under any
picture without the mark the differences to a random key's phases are uniform and independent, so the statistic is a
sum of unit vectors whatever the picture is, and its p-value is known (Rayleigh's test, at every shift of every tile
tried). Tried are common sizes first and then how the picture's tiles seem to lie, each in the eight ways that a
square can be laid: turned by quarters, mirrored or not.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from services.safety.provenance import lattice
from services.safety.provenance.lattice import Placement
from services.safety.provenance.payload import SYMBOLS, payload_of, symbols

TILE = 128  # pixels
LOW, HIGH = 6, 20  # band, in cycles a tile: waves of 21 to 6 pixels, which JPEG 70 and halving both leave
SPACING = 4  # pixels between two shifts that mean different symbols

FLAT = 1.2  # the mark's root mean square on a flat ground, in levels of 255
TEXTURED = 0.13  # how much of the ground's own activity is added to that
MOST = 6.0  # levels, the largest root mean square anywhere

STRIP = 1024  # rows marked at one time, whole tiles, so that a large picture takes little more memory than a small one
MARGIN = 48  # rows beside a strip that its strength depends on: the reach of the filters

SCALES = (1.0, 0.5, 2.0, 0.75, 1.5, 2 / 3, 4 / 3, 0.9, 0.8, 0.7, 0.6, 1.25, 0.4, 1 / 3, 0.25, 4.0)
"""By what the picture may have been resized since it was marked, in the order tried."""
WAYS = 8  # in which a square tile can be laid
UPRIGHT = Placement()
THRESHOLD = 1e-6  # the p-value, over all that is tried, below which the mark counts as found
LOOKED_AT = (
    1024  # pixels, a side of what is looked at, at the mark's own scale: the middle of a larger picture
)

FARTHEST_SEEN = 4 * LOOKED_AT  # pixels, a side of a picture at the largest of all sizes

Plane: TypeAlias = NDArray[np.float32]
Spectrum: TypeAlias = NDArray[np.complex64]
Pixels = TypeVar("Pixels", NDArray[np.uint8], Plane)


@dataclass(frozen=True)
class Found:
    """What a detector found: `p_value` for all that it tried together, how tiles lie, and the symbols where the mark is.

    `way` is that of the tile: turned by so many quarters anticlockwise, from 4 on after having been mirrored.
    """

    p_value: float
    placement: Placement = UPRIGHT
    way: int = 0
    symbols: tuple[int, ...] = ()

    @property
    def marked(self) -> bool:
        """Whether the mark is there."""
        return self.p_value < THRESHOLD

    @property
    def payload(self) -> int | None:
        """The payload, or None where none was read or its checksum does not hold."""
        return payload_of(self.symbols) if self.symbols else None


def _doubt(found: Found) -> tuple[bool, float]:
    """Rank what was found: a size that is a little off may show the mark better and its symbols not at all."""
    return found.payload is None, found.p_value


@dataclass(frozen=True)
class Watermark:
    """A keyed mark; equal keys give equal marks."""

    key: bytes

    def mark(self, picture: NDArray[np.uint8], payload: int) -> NDArray[np.uint8]:
        """Return the picture, uint8 [H,W,1, 3 or 4], with a payload of 32 bits in it; alpha is left alone."""
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

    def find(
        self, *pictures: NDArray[np.uint8], scales: Sequence[float] = SCALES, guesses: bool = True
    ) -> Found:
        """Look for the mark in a picture, uint8 [H,W,1 or 3], or in several of one size that bear it alike, as frames do.

        It may have been cut, turned by quarters and mirrored since, and resized by any of `scales`; with `guesses` by
        any from a quarter to twice the size and turned by any angle, too.
        """
        lights = [_luminance(_middle(picture, FARTHEST_SEEN)) for picture in pictures]
        # Half of the error allowed is spent on the commonest: laid as it was, at one of the sizes.
        usual = 2 * len(scales) * TILE * TILE
        other = 2 * (len(scales) * (WAYS - 1) + (lattice.GUESSES * WAYS if guesses else 0)) * TILE * TILE
        best = Found(1.0)
        for number, (placement, tile) in enumerate(self._tiles(lights, scales, guesses)):
            for way, spectrum in enumerate(_laid(tile)):
                z, offset = self._sync(spectrum)
                tried = usual if way == 0 and number < len(scales) else other
                p_value = min(1.0, math.erfc(z / math.sqrt(2)) / 2 * tried)
                if p_value < max(best.p_value, THRESHOLD):
                    read = self._symbols(spectrum, offset) if p_value < THRESHOLD else ()
                    best = min(best, Found(p_value, placement, way, read), key=_doubt)
            if best.payload is not None and best.p_value < THRESHOLD**2:
                break
        return best

    def _tiles(
        self, lights: Sequence[Plane], scales: Sequence[float], guesses: bool
    ) -> Iterator[tuple[Placement, Plane]]:
        """Yield each way that the pictures' tiles may lie, and what all of them are, folded into one tile."""
        for scale in scales:
            middles = (_middle(light, round(LOOKED_AT * scale)) for light in lights)
            yield Placement(scale), _folded(_rescaled(middle, 1 / scale) for middle in middles)
        if guesses:
            for guess in lattice.guesses([_middle(light, lattice.SIDE) for light in lights], TILE):
                yield guess, _folded(lattice.upright(light, guess, LOOKED_AT) for light in lights)

    @cached_property
    def _keyed(self) -> tuple[Spectrum, list[NDArray[np.bool_]]]:
        """Return the phases of the band and the half planes of bins: the synchronisation's, then each group's."""
        seed = int.from_bytes(hashlib.sha256(b"vmesh-watermark-1" + self.key).digest(), "big")
        random = np.random.Generator(np.random.PCG64(seed))
        bins = np.argwhere(_band())
        order = random.permutation(len(bins))
        phases = np.zeros((TILE, TILE // 2 + 1), np.complex64)
        phases[tuple(bins.T)] = np.exp(2j * np.pi * random.random(len(bins)))
        half, share = len(bins) // 2, len(bins) // (2 * SYMBOLS)
        parts = [order[:half], *(order[half + k * share :][:share] for k in range(SYMBOLS))]
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


def place(symbol: int) -> tuple[int, int]:
    """Return the shift, in pixels down and right, that means a symbol."""
    row, column = divmod(symbol, TILE // SPACING)
    return row * SPACING, column * SPACING


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


def _folded(lights: Iterable[Plane]) -> Plane:
    """Return pictures folded into one tile."""
    folded = np.zeros((TILE, TILE), np.float32)
    for light in lights:
        # Edges and textures are brought down to the level of flat grounds, where the mark stands clearest.
        fine = cv2.GaussianBlur(light, (0, 0), 1.2) - cv2.GaussianBlur(light, (0, 0), 6.0)
        activity = cv2.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6.0))
        even = fine / (activity + np.float32(0.5))
        height, width = even.shape
        rows, columns = -(-height // TILE), -(-width // TILE)
        padded = np.zeros((rows * TILE, columns * TILE), np.float32)
        padded[:height, :width] = even
        folded += padded.reshape(rows, TILE, columns, TILE).sum(axis=(0, 2))
    return folded


def _laid(tile: Plane) -> Iterator[Spectrum]:
    """Yield the phases, unit vectors, of a tile in each of the ways that it can be laid."""
    for way in range(WAYS):
        turned = np.rot90(tile, way % 4)
        spectrum = np.fft.rfft2(turned[:, ::-1] if way >= 4 else turned)
        phases: Spectrum = (spectrum / np.maximum(np.abs(spectrum), 1e-9)).astype(np.complex64)
        yield phases


def _strength(light: Plane) -> Plane:
    """Return how strong the mark may be at each pixel, its root mean square in levels."""
    fine = light - cv2.GaussianBlur(light, (0, 0), 4.0)
    activity = cv2.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6.0))
    # A texture hides what lies in it and not what lies beside it: what is calm nearby stays calm.
    calm = cv2.erode(activity, np.ones((9, 9), np.uint8))
    strength: Plane = np.minimum(np.float32(FLAT) + np.float32(TEXTURED) * calm, np.float32(MOST))
    return strength


def _luminance(picture: NDArray[np.uint8]) -> Plane:
    if picture.shape[2] == 1:
        return picture[..., 0].astype(np.float32)
    grey: Plane = cv2.cvtColor(picture[..., :3], cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey


def _middle(picture: Pixels, side: int) -> Pixels:
    top, left = (max(0, length - side) // 2 for length in picture.shape[:2])
    middle: Pixels = picture[top : top + side, left : left + side]
    return middle


def _rescaled(light: Plane, factor: float) -> Plane:
    if factor == 1:
        return light
    height, width = (max(1, round(side * factor)) for side in light.shape)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    resized: Plane = cv2.resize(light, (width, height), interpolation=how).astype(np.float32, copy=False)
    return resized
