"""Continuing a picture beyond its border so that the seam cannot be seen.

Beyond a side the colours of its outermost row go on, smoothed along the side more and more with the distance from
it, and drift towards the side's median colour: next to the seam everything continues, far away the ground is plain.
An object that touches the border fades out instead of leaving streaks.
"""

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

LEVELS = 12  # smoothing levels between the seam and the far edge, spaced by powers of two
SPREAD = 0.5  # smoothing (standard deviation) in pixels per pixel of distance
DRIFT = 0.35  # distance, as a share of the side's length, at which the colour is the median's


def extend(picture: Pixels, width: int, height: int) -> Pixels:
    """Centre `picture` [H, W, C] on a canvas of `width` × `height`, continuing its border to every side.

    The picture's own pixels are untouched. Raises ValueError when the canvas is smaller than the picture.
    """
    rows, columns = height - picture.shape[0], width - picture.shape[1]
    if rows < 0 or columns < 0:
        raise ValueError(
            f"a canvas of {width} × {height} cannot hold {picture.shape[1]} × {picture.shape[0]}"
        )
    wide = _extend_rows(picture.transpose(1, 0, 2), columns // 2, columns - columns // 2).transpose(1, 0, 2)
    return np.ascontiguousarray(_extend_rows(wide, rows // 2, rows - rows // 2))


def _extend_rows(picture: Pixels, above: int, below: int) -> Pixels:
    parts = [_continue(picture[0], above)[::-1], picture, _continue(picture[-1], below)]
    return np.concatenate(parts) if above or below else picture


def _continue(side: Pixels, distance: int) -> Pixels:
    """Continue a side [N, C] for `distance` rows, the nearest first: [distance, N, C]."""
    if distance == 0:
        return np.empty((0, *side.shape), np.uint8)
    profile = side.astype(np.float32)
    reach = np.arange(1, distance + 1, dtype=np.float32)
    sigmas = np.concatenate([[0.0], np.geomspace(SPREAD, SPREAD * distance + SPREAD, LEVELS)])
    levels = np.stack([_smooth(profile, float(sigma)) for sigma in sigmas])
    position = np.interp(reach * SPREAD, sigmas, np.arange(len(sigmas)))
    lower = np.minimum(position.astype(int), len(sigmas) - 2)
    share = (position - lower).astype(np.float32)[:, None, None]
    continued = levels[lower] * (1 - share) + levels[lower + 1] * share
    drift = np.clip(reach / (DRIFT * len(side)), 0, 1)[:, None, None]
    drift = drift * drift * (3 - 2 * drift)
    continued += drift * (np.median(profile, axis=0) - continued)
    return np.asarray(np.clip(np.rint(continued), 0, 255), np.uint8)


def _smooth(profile: Floats, sigma: float) -> Floats:
    """Blur [N, C] along N with a Gaussian, the ends held."""
    if sigma == 0:
        return profile
    radius = max(1, int(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1, dtype=np.float32) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(profile, ((radius, radius), (0, 0)), mode="edge")
    columns = [np.convolve(padded[:, channel], kernel, "valid") for channel in range(profile.shape[1])]
    return np.stack(columns, axis=1).astype(np.float32)
