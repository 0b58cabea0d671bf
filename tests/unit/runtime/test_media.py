"""Blobs are what their digest says; pictures are checked before they are decoded and written the same each time."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

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


async def test_strips_make_one_picture(monkeypatch):
    given = saved(Image.fromarray(np.dstack([PICTURE, PICTURE[..., 0]])), "PNG")
    whole = await images.decode(given), await images.decode_rgba(given)
    monkeypatch.setattr(images, "STRIP", 3 * 30)
    strips = await images.decode(given), await images.decode_rgba(given)
    for one, other in zip(whole, strips, strict=True):
        np.testing.assert_array_equal(one, other)


async def test_16_bits_of_grey_are_seen_as_they_are_shown():
    """Cut off at 255 nearly every level would be white, and what checks a picture would look at a blank one."""
    grey = np.linspace(0, 65535, 30 * 20).reshape(20, 30).astype(np.uint16)
    given = saved(Image.fromarray(grey), "PNG")
    np.testing.assert_array_equal(await images.decode(given), await images.decode_as_shown(given))
    assert (await images.decode(given)).mean() == pytest.approx(127.5, abs=0.5)


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


def written(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
async def test_a_picture_is_shown_as_its_orientation_says(orientation: int, turns: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = await images.decode_as_shown(written(Image.fromarray(PICTURE), exif=exif))
    np.testing.assert_array_equal(shown, np.rot90(PICTURE, turns))


async def test_damage_elsewhere_in_its_exif_does_not_keep_a_picture_from_being_shown():
    exif = Image.Exif()
    exif[0x0112] = 3
    exif[0x010E] = "a description"
    # As text under a tag that holds a number, which Pillow reads and cannot write.
    damaged = exif.tobytes().replace(b"\x01\x0e\x00\x02", b"\x01\x24\x00\x02")
    assert damaged != exif.tobytes()
    shown = await images.decode_as_shown(written(Image.fromarray(PICTURE), exif=damaged))
    np.testing.assert_array_equal(shown, np.rot90(PICTURE, 2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA"])
async def test_any_kind_of_png_is_shown_in_eight_bits(mode: str):
    image = Image.fromarray(PICTURE).convert(mode)
    shown = await images.decode_as_shown(written(image))
    assert shown.shape == (20, 30, 4 if mode.endswith("A") else 3)
    np.testing.assert_array_equal(shown[..., :3], np.asarray(image.convert("RGB")))


async def test_sixteen_bits_of_grey_become_eight_and_are_not_cut_off():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(2, 0)
    shown = await images.decode_as_shown(written(Image.fromarray(ramp)))
    np.testing.assert_array_equal(shown[0, :, 0], np.arange(256))


async def test_a_transparent_palette_entry_is_an_alpha():
    image = Image.fromarray(PICTURE).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    shown = await images.decode_as_shown(written(image, transparency=3))
    np.testing.assert_array_equal(shown[..., 3] == 0, np.asarray(image) == 3)


async def test_colours_of_another_profile_are_brought_to_srgb():
    """The same colours, said in linear light: as numbers they are darker, shown they are equal."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    curve = profile.index(b"para")  # one for all three channels: 32 bytes, made a plain exponent of 1
    linear = profile[:curve] + b"para\0\0\0\0\0\0\0\0\0\1\0\0".ljust(32, b"\0") + profile[curve + 32 :]
    light = PICTURE / 255.0
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    numbers = Image.fromarray(np.rint(light * 255).astype(np.uint8))
    shown = await images.decode_as_shown(written(numbers, icc_profile=linear))
    bright = PICTURE.min(2) > 100  # in the dark, eight bits of linear light are few
    assert np.abs(shown.astype(int) - PICTURE)[bright].max() <= 2
    assert np.abs(np.asarray(numbers).astype(int) - PICTURE)[bright].max() > 40


async def test_a_profile_that_is_none_is_left_aside():
    shown = await images.decode_as_shown(written(Image.fromarray(PICTURE), icc_profile=b"none" * 64))
    np.testing.assert_array_equal(shown, PICTURE)


async def test_a_damaged_picture_is_refused_whichever_way_it_is_decoded():
    data = written(Image.fromarray(PICTURE.repeat(9, 0).repeat(9, 1)))
    with pytest.raises(MeshError, match="does not decode to its end"):
        await images.decode_as_shown(data[: len(data) // 2])
