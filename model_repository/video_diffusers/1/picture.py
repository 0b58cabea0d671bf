"""The picture that a video starts from, as its two encoders want it. Pure: numpy and Pillow."""

import numpy as np
from PIL import Image

CUBIC = -0.75  # PyTorch's coefficient of bicubic interpolation


def for_vae(image, size):
    """UINT8 [H, W, 3] -> FP32 [1, 3, height, width], -1 to 1; resized as diffusers' VideoProcessor does."""
    if image.shape[1::-1] != size:
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    unit = image.astype(np.float32) / np.float32(255)
    return (np.float32(2) * unit - np.float32(1)).transpose(2, 0, 1)[None]


def for_clip(image, side, mean, deviation):
    """UINT8 [H, W, 3] -> FP32 [1, 3, side, side], normalised by CLIP's mean and deviation of each colour.

    Blurred and resized as Stable Video Diffusion was trained (diffusers' `_resize_with_antialiasing`): both are
    linear along each axis, so one matrix an axis does it.
    """
    unit = image.astype(np.float32).transpose(2, 0, 1) / np.float32(255) * np.float32(2) - np.float32(1)
    small = shrink(image.shape[0], side) @ unit @ shrink(image.shape[1], side).T
    normal = ((small + 1) / 2 - np.reshape(mean, (3, 1, 1))) / np.reshape(deviation, (3, 1, 1))
    return normal[None].astype(np.float32)


def shrink(length, side):
    """FP32 [side, length]: a Gaussian blur against aliasing, then bicubic interpolation from corner to corner."""
    deviation = max((length / side - 1) / 2, 0.001)
    taps = max(int(max(4 * deviation, 3)) | 1, 3)
    offsets = np.arange(taps) - taps // 2
    bell = np.exp(-(offsets**2) / (2 * deviation**2))
    bell /= bell.sum()
    mirrored = np.pad(np.arange(length), taps // 2, mode="reflect")
    # In float32, as PyTorch finds them: in double precision they would be others by a ten thousandth of a pixel.
    places = np.arange(side, dtype=np.float32) * np.float32((length - 1) / (side - 1))
    before = np.floor(places).astype(int)
    matrix = np.zeros((side, length))
    for tap in range(-1, 3):
        weight = cubic(np.abs(places - before - tap))
        centre = np.clip(before + tap, 0, length - 1)
        for offset, share in zip(offsets, bell, strict=True):
            np.add.at(matrix, (np.arange(side), mirrored[centre + offset + taps // 2]), weight * share)
    return matrix.astype(np.float32)


def cubic(distance):
    """Keys' convolution kernel (1981), 0 to 2 pixels away."""
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance**2 + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0))
