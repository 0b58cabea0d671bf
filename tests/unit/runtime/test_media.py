"""Blobs are what their digest says; pictures are checked before they are decoded and written the same each time."""

import io

import numpy as np
import pytest
from PIL import Image

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime import images
from services.runtime.blobs import BlobStore
from services.runtime.errors import MeshError

PICTURE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def animated() -> bytes:
    out = io.BytesIO()
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:])
    return out.getvalue()


async def test_a_blob_comes_back_as_it_was_put(tmp_path):
    store = BlobStore.open("", tmp_path)
    ref = await store.put(b"bytes", media_type="text/plain")
    assert await store.put(b"bytes", media_type="text/plain") == ref
    assert await store.get(ref) == b"bytes"
    assert await store.get_range(ref.sha256, 1, 3) == b"yte"
    await store.delete(ref.sha256)
    await store.delete(ref.sha256)
    with pytest.raises(MeshError) as caught:
        await store.get(ref)
    assert caught.value.reason == errors_pb2.ERROR_REASON_NOT_FOUND


async def test_damaged_bytes_are_never_returned(tmp_path):
    store = BlobStore.open("", tmp_path)
    ref = await store.put(b"bytes", media_type="text/plain")
    next(path for path in (tmp_path / "blobs").rglob(ref.sha256)).write_bytes(b"other")
    with pytest.raises(MeshError) as caught:
        await store.get(ref)
    assert caught.value.reason == errors_pb2.ERROR_REASON_MEDIA_INVALID


async def test_a_store_that_cannot_be_reached_is_told_as_such_without_its_own_words(tmp_path):
    store = BlobStore.open("", tmp_path)
    (tmp_path / "blobs").rmdir()
    (tmp_path / "blobs").write_text("not a folder")
    ref = MediaRef(uri=f"blob:{'ab' * 32}", sha256="ab" * 32)
    for call in (
        store.put(b"bytes", media_type="text/plain"),
        store.get(ref),
        store.get_range(ref.sha256, 0, 1),
        store.exists(ref.sha256),
        store.delete(ref.sha256),
    ):
        with pytest.raises(MeshError) as caught:
            await call
        assert caught.value.name == "DEPENDENCY_UNAVAILABLE"
        assert caught.value.retry_after
        assert str(tmp_path) not in caught.value.message


async def test_png_round_trip_is_exact_and_repeatable():
    data = await images.encode_png(PICTURE, {"prompt": "ein Apfel – 苹果"})
    assert data == await images.encode_png(PICTURE, {"prompt": "ein Apfel – 苹果"})
    assert (await images.decode(data) == PICTURE).all()
    assert Image.open(io.BytesIO(data)).text["prompt"] == "ein Apfel – 苹果"
    assert images.media_type_of(data) == ("image/png", 30, 20)
    assert not images.has_alpha(data)


async def test_a_phones_picture_with_others_behind_it_is_a_jpeg():
    out = io.BytesIO()
    picture, gain_map = Image.new("RGB", (30, 20), "red"), Image.new("RGB", (15, 10), "gray")
    picture.save(out, "MPO", save_all=True, append_images=[gain_map])
    assert images.media_type_of(out.getvalue()) == ("image/jpeg", 30, 20)
    assert (await images.decode(out.getvalue())).shape == (20, 30, 3)


async def test_transparency_is_laid_over_white_or_kept():
    clear = saved(Image.new("RGBA", (2, 2), (255, 0, 0, 0)), "PNG")
    assert images.has_alpha(clear)
    assert (await images.decode(clear) == 255).all()
    assert (await images.decode_rgba(clear))[0, 0].tolist() == [255, 0, 0, 0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        saved(Image.new("RGB", (4, 4)), "GIF"),
        saved(Image.fromarray(PICTURE), "PNG")[:200],
        saved(Image.new("1", (9000, 9000)), "PNG"),
        saved(Image.new("1", (14000, 14000)), "PNG"),
        animated(),
    ],
    ids=["empty", "text", "gif", "cut short", "too many pixels", "far too many pixels", "animated"],
)
async def test_bad_media_is_refused_with_its_rule(data):
    with pytest.raises(MeshError) as caught:
        await images.decode(data)
    assert caught.value.reason == errors_pb2.ERROR_REASON_MEDIA_INVALID
    assert caught.value.field == "media"
