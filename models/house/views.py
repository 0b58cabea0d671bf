"""Pictures as the matcher may meet them.

Moved, scaled, letter-boxed, on other backgrounds, blurred, of low resolution, worn by JPEG. Pure given a generator.
"""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageFilter

SIZE = 128
Pixels = npt.NDArray[np.uint8]


def background(rng: np.random.Generator) -> tuple[int, int, int]:
    """White seven times in ten, else black, grey or any colour."""
    if rng.random() < 0.7:
        return (255, 255, 255)
    if rng.random() < 0.3:
        level = int(rng.integers(256))
        return (level, level, level)
    red, green, blue = (int(value) for value in rng.integers(256, size=3))
    return (red, green, blue)


def wear(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Lose detail the way small generated pictures, scaling and compression do."""
    size = picture.size
    if rng.random() < 0.5:
        small = int(rng.integers(40, 90))
        picture = picture.resize((small, small), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.8))))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        if rng.random() < 0.4:
            picture = enhance(picture).enhance(float(rng.uniform(0.75, 1.25)))
    if rng.random() < 0.4:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 95)))
        picture = Image.open(buffer).convert("RGB")
    return picture


def view(rgba: Pixels, rng: np.random.Generator, mirrors: bool) -> Pixels:
    """One random view, uint8 [SIZE, SIZE, 3], of a picture uint8 [S, S, 4]."""
    picture = Image.fromarray(rgba)
    if mirrors and rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    canvas = Image.new("RGB", (SIZE, SIZE), background(rng))
    scale = float(rng.uniform(0.5, 1.12)) if rng.random() < 0.7 else 1.0
    stretch = float(rng.uniform(0.85, 1.18)) if rng.random() < 0.3 else 1.0
    width, height = max(8, int(SIZE * scale)), max(8, int(SIZE * scale * stretch))
    drawn = picture.resize((width, height), Image.Resampling.BILINEAR)
    play = 0.5 + 0.4 * rng.uniform(-1, 1, 2)
    canvas.paste(drawn, (int((SIZE - width) * play[0]), int((SIZE - height) * play[1])), drawn)
    noise = rng.normal(0, rng.uniform(0, 8), (SIZE, SIZE, 3)) if rng.random() < 0.3 else 0
    return np.asarray((np.asarray(wear(canvas, rng)) + noise).clip(0, 255), np.uint8)


def clean(rgba: Pixels) -> Pixels:
    """The picture as it is on white, uint8 [SIZE, SIZE, 3]."""
    picture = Image.fromarray(rgba)
    canvas = Image.new("RGB", picture.size, (255, 255, 255))
    canvas.paste(picture, (0, 0), picture)
    return np.asarray(canvas.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
