"""How much a picture is to be denoised, and how Open Image Denoise takes a photograph.

Figures are means over four 320² photographs of scikit-image with Gaussian noise of a known standard deviation.
"""

import cv2
import numpy as np

# The network was trained on the noise of path tracers, which is faint where the picture is: at sigma 50 of 255 it
# leaves most of it standing. With the contrast lowered first and raised again afterwards noise and edges alike look
# fainter to it: sigma 25 from 29.4 to 30.3 dB, 50 from 22.6 to 25.8, 5 from 37.4 to 38.1; 0.25 is no better below 50.
CONTRAST = 0.35
# A clean photograph comes back at 45 to 55 dB and at sigma 2 denoising only harms it (42.1 to 42.0 dB at worst); from
# about 6 on all of the result is wanted (the best share at 2, 5 and 10: 0.65, 0.85 and 0.94). Clean photographs
# measure 0 to 2.2 themselves.
CLEAN, NOISY = 2.0, 6.0
# Noise has no mean, and yet the network leaves a noisy picture up to 2% brighter. What the result and the picture differ
# by over this many pixels (the deviation of a Gaussian) is taken back: sigma 50 from 25.8 to 27.0 dB.
DRIFT = 8
MEDIAN_OF_NORMAL = 0.6745  # of |x|, for a standard normal x


def noise_level(picture):
    """Standard deviation of the noise in UINT8 [H, W, 3], in levels of 255; 0 where a side is below two pixels.

    The median absolute value of the finest diagonal Haar coefficients (Donoho and Johnstone, Ideal spatial adaptation
    by wavelet shrinkage, 1994): edges are few among them. Fine regular texture counts as noise.
    """
    height, width, _ = picture.shape
    even = picture[: height // 2 * 2, : width // 2 * 2].astype(np.float32)
    diagonal = even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]
    return float(np.median(np.abs(diagonal))) / 2 / MEDIAN_OF_NORMAL if diagonal.size else 0.0


def share(level):
    """How much of the denoised picture is wanted at a noise level: 0 (none of it) to 1."""
    return min(max((level - CLEAN) / (NOISY - CLEAN), 0.0), 1.0)


def denoise(picture, run):
    """UINT8 [H, W, 3] -> the same size. run(FP32 [H, W, 3] in [0, 1]) denoises; a clean picture does not need it."""
    wanted = share(noise_level(picture))
    if not wanted:
        return picture
    colour = picture.astype(np.float32) / 255
    cleaned = (run((colour - 0.5) * CONTRAST + 0.5) - 0.5) / CONTRAST + 0.5
    cleaned += cv2.GaussianBlur(colour - cleaned, (0, 0), DRIFT)
    return np.clip(np.rint((colour + wanted * (cleaned - colour)) * 255), 0, 255).astype(np.uint8)
