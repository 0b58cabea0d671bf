"""PNG files read and written without an imaging library, against one."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scrollintel.visual.cli import png
from tests.unit.client.scripted import PNG


def encode(pixels: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 1, 3), (7, 5, 4), (9, 3)])
@pytest.mark.parametrize("kind", ["noise", "gradient"])
def test_decoding_agrees_with_pillow(shape, kind):
    random = np.random.default_rng(7)
    if kind == "noise":
        pixels = random.integers(0, 256, shape, dtype=np.uint8)
    else:  # smooth pictures make the encoder choose every filter
        pixels = (np.indices(shape).sum(axis=0) * 3 % 256).astype(np.uint8)
    decoded = png.decode(encode(pixels))
    assert (decoded.height, decoded.width) == shape[:2]
    assert decoded.data == pixels.tobytes()


def test_pixels_are_read_by_place():
    pixels = png.decode(PNG)
    assert [pixels.rgb(x, y) for y in (0, 1) for x in (0, 1)] == [
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        (255, 255, 255),
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_text_survives_and_pixels_stay(value):
    written = png.with_text(PNG, {"prompt": value})
    assert png.text_of(written) == {"prompt": value.replace("\0", "")}
    image = Image.open(io.BytesIO(written))
    assert image.tobytes() == Image.open(io.BytesIO(PNG)).tobytes()
    assert image.text["prompt"] == value.replace("\0", "")


def test_equal_text_gives_equal_bytes():
    assert png.with_text(PNG, {"a": "1", "b": "2"}) == png.with_text(PNG, {"a": "1", "b": "2"})


@pytest.mark.parametrize("key", ["", "k" * 80, "nul\0", "крыша"])
def test_a_key_that_png_does_not_allow_is_refused(key):
    with pytest.raises(ValueError):
        png.with_text(PNG, {key: "value"})


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", PNG[:20], PNG[:-20], PNG[:8], PNG.replace(b"IDAT", b"XDAT")],
    ids=["empty", "gif", "header cut", "end cut", "signature alone", "no pixels"],
)
def test_damaged_files_are_refused(data):
    with pytest.raises(ValueError):
        png.decode(data)


@given(st.binary(max_size=200))
def test_noise_behind_the_signature_is_a_value_error_at_worst(noise):
    with contextlib.suppress(ValueError):
        png.decode(png.SIGNATURE + noise)


def test_a_bomb_is_refused_before_it_is_unpacked():
    with pytest.raises(ValueError, match="kind"):
        png.decode(encode(np.zeros((2000, 2000, 3), np.uint8)))
