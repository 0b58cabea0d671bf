"""Pictures between bytes and arrays, with limits checked before anything is decoded, off the event loop."""

import io
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from services.runtime.threads import in_thread

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 8192 * 8192
TOO_LARGE = f"more than {MAX_PIXELS // 10**6} megapixels"
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
# What Pillow calls a JPEG with further pictures behind it (depth, gain map), as phones write it; the first is the picture.
MULTI_PICTURE = "MPO"
# Level 1 of 9: on a drawn 1024 × 1024 picture a third of the time of the default for a few percent more bytes.
PNG_LEVEL = 1

# Pixels that are brought into another mode at a time. Whole, Pillow holds the picture once more for each step: one of 67
# megapixels took 0.9 GB, with transparency 1.7, and now takes 0.5.
STRIP = 4 * 1024 * 1024

Pixels = NDArray[np.uint8]


def media_type_of(data: bytes) -> tuple[str, int, int]:
    """Return (media type, width, height) of a picture's bytes without decoding its pixels.

    A head may be made long on purpose, and reading it then takes seconds: call it off the event loop, as `has_alpha`.
    Raises MeshError MEDIA_INVALID when it is too large, of a kind not accepted, or no picture.
    """
    with _opened(data) as image:
        kind = "JPEG" if image.format == MULTI_PICTURE else str(image.format)
        return FORMATS[kind], image.width, image.height


async def decode(data: bytes, ground: str = "white") -> Pixels:
    """Return a picture as [height, width, 3] uint8 RGB; transparency is laid over a ground of that colour."""
    return await in_thread(_decode, data, "RGB", ground)


async def decode_rgba(data: bytes) -> Pixels:
    """Return a picture as [height, width, 4] uint8 RGBA, alpha not premultiplied."""
    return await in_thread(_decode, data, "RGBA")


async def decode_as_shown(data: bytes) -> Pixels:
    """Return a picture as a viewer shows it: [height, width, 3] uint8 RGB, or [.., 4] where it has transparency.

    It is turned as its EXIF orientation says, its colours are brought from its own colour profile to sRGB, and 16 bits
    become 8. Alpha is not premultiplied.
    """
    return await in_thread(_decode_as_shown, data)


def has_alpha(data: bytes) -> bool:
    """Return whether a picture has an alpha channel or transparent palette."""
    with _opened(data) as image:
        return _has_alpha(image)


async def encode_png(pixels: Pixels, text: Mapping[str, str] | None = None) -> bytes:
    """Return [height, width, 3 or 4] uint8 pixels as a PNG file, with `text` as its iTXt chunks.

    Equal arguments give equal bytes: no time and no machine is written.
    """
    return await in_thread(_encode_png, pixels, text or {})


def _opened(data: bytes) -> Image.Image:
    if len(data) > MAX_BYTES:
        raise _invalid(f"larger than {MAX_BYTES // 2**20} MiB")
    try:
        image = Image.open(io.BytesIO(data), formats=list(FORMATS))
    except Image.DecompressionBombError:
        raise _invalid(TOO_LARGE) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise _invalid("not a PNG, JPEG or WebP picture") from None
    if image.width * image.height > MAX_PIXELS:
        raise _invalid(TOO_LARGE)
    if image.format != MULTI_PICTURE and getattr(image, "n_frames", 1) > 1:
        raise _invalid("animated; send one still picture")
    return image


def _decode(data: bytes, mode: str, ground: str = "white") -> Pixels:
    with _opened(data) as image:
        try:
            image.load()
            return _in_mode(image, mode, ground)
        except (OSError, ValueError, SyntaxError, EOFError):
            raise _invalid("damaged: it does not decode to its end") from None


def _in_mode(image: Image.Image, mode: str, ground: str) -> Pixels:
    """Return a picture's pixels as RGB, over a ground where it is transparent, or as RGBA."""
    width, height = image.size
    pixels = np.empty((height, width, len(mode)), np.uint8)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = _in_8_bits(image.crop((0, top, width, bottom)))
        if mode == "RGB" and strip.mode != "RGB":
            rgba = strip.convert("RGBA")
            strip = Image.alpha_composite(Image.new("RGBA", rgba.size, ground), rgba)
        pixels[top:bottom] = np.asarray(strip.convert(mode))
    return pixels


def _decode_as_shown(data: bytes) -> Pixels:
    with _opened(data) as image:
        try:
            _turn(image)
            alpha = image.convert("RGBA").getchannel("A") if _has_alpha(image) else None
            colour = np.asarray(_in_srgb(_in_8_bits(image)))
        except (OSError, ValueError, SyntaxError, EOFError):
            raise _invalid("damaged: it does not decode to its end") from None
    return np.ascontiguousarray(colour if alpha is None else np.dstack([colour, np.asarray(alpha)]))


def _turn(image: Image.Image) -> None:
    """Turn a picture in place as its EXIF orientation says."""
    image.load()
    image.getexif()  # read, and kept
    for name in ("exif", "Raw profile type exif"):
        # Pillow would write it anew without the orientation, and stumble over damaged values that nobody reads.
        image.info.pop(name, None)
    ImageOps.exif_transpose(image, in_place=True)


def _has_alpha(image: Image.Image) -> bool:
    # A 16-bit grey level that stands for transparency is left aside: Pillow cannot make an alpha of it.
    return image.mode in ("RGBA", "LA", "PA") or (
        "transparency" in image.info and not image.mode.startswith("I")
    )


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey, which Pillow would cut off at 255, as 8-bit grey; Pillow reads 16-bit colours as 8-bit ones."""
    if not image.mode.startswith("I"):
        return image
    grey = Image.fromarray(np.rint(np.asarray(image, np.float64) / 257).astype(np.uint8))
    grey.info = image.info
    return grey


def _in_srgb(image: Image.Image) -> Image.Image:
    """Return a picture's colours as sRGB; a profile that does not fit the picture is left aside, as browsers do."""
    plain = image if image.mode in ("L", "CMYK") else image.convert("RGB")
    profile = image.info.get("icc_profile")
    if profile:
        try:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            turned = ImageCms.profileToProfile(plain, given, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if turned is not None:
                return turned
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass
    return plain.convert("RGB")


def _encode_png(pixels: Pixels, text: Mapping[str, str]) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, value in text.items():
        info.add_itxt(key, value)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=PNG_LEVEL, pnginfo=info)
    return out.getvalue()


def _invalid(rule: str) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_MEDIA_INVALID, f"the media is refused: {rule}", field="media")
