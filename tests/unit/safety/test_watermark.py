import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from services.safety.provenance.lattice import Placement
from services.safety.provenance.payload import payload_of, symbols
from services.safety.provenance.watermark import TILE, Watermark, place

MARK = Watermark(b"a key")
PAYLOAD = 0xC0FFEE42


def photograph(side: int = 384):
    return np.asarray(Image.fromarray(data.astronaut()[:side, :side]))


def icon(side: int = 512):
    """A disc on white: flat grounds, and half of the mark's changes are cut off at white."""
    rows, columns = np.mgrid[:side, :side]
    disc = np.hypot(rows - side / 2, columns - side / 2) < side / 4
    return np.where(disc[..., None], np.uint8([220, 60, 40]), np.uint8([255, 255, 255]))


def jpeg(picture, quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def halved(picture):
    height, width = picture.shape[:2]
    return np.asarray(Image.fromarray(picture).resize((width // 2, height // 2), Image.Resampling.LANCZOS))


ATTACKS = {
    "nothing": lambda picture: picture,
    "jpeg": lambda picture: jpeg(picture, 70),
    "half": halved,
    "a tenth cut off": lambda picture: picture[11:-7, 5:-13],
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("picture", [photograph(), icon()], ids=["photograph", "icon"])
def test_the_mark_is_found_and_read_after(attack, picture):
    found = MARK.find(ATTACKS[attack](MARK.mark(picture, PAYLOAD)))
    assert found.marked
    assert found.payload == PAYLOAD
    assert found.placement == Placement(0.5 if attack == "half" else 1.0)


def resized(picture, factor):
    size = [round(side * factor) for side in picture.shape[1::-1]]
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


@pytest.mark.parametrize("way", range(8))
def test_the_mark_is_read_in_a_picture_laid_in_any_way(way):
    laid = np.rot90(MARK.mark(photograph(), PAYLOAD), way % 4)
    found = MARK.find(np.ascontiguousarray(laid[:, ::-1] if way >= 4 else laid), scales=(1.0,), guesses=False)
    assert found.payload == PAYLOAD
    assert found.placement == Placement()


@pytest.mark.parametrize(("factor", "degrees"), [(0.85, 0), (1.37, 0), (1, 1), (1, -30), (0.7, 100)])
def test_the_mark_is_read_at_sizes_and_angles_of_no_list(factor, degrees):
    marked = Image.fromarray(MARK.mark(photograph(512), PAYLOAD))
    found = MARK.find(
        resized(np.asarray(marked.rotate(degrees, Image.Resampling.BICUBIC)), factor), scales=(1.0,)
    )
    assert found.payload == PAYLOAD
    assert found.placement.scale == pytest.approx(factor, rel=0.01)


def test_frames_too_weak_alone_are_read_together():
    random = np.random.default_rng(3)
    still = MARK.mark(photograph(256), PAYLOAD)
    frames = [np.clip(still + random.normal(0, 30, still.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    assert not MARK.find(frames[0], scales=(1.0,), guesses=False).marked
    assert MARK.find(*frames, scales=(1.0,), guesses=False).payload == PAYLOAD


def test_frames_that_are_all_the_same_are_no_better_evidence_than_one():
    one, many = (MARK.find(*[photograph(256)] * count, scales=(1.0,)) for count in (1, 12))
    assert many.p_value == pytest.approx(one.p_value, rel=0.01)


def test_a_tenth_of_an_icon_is_enough():
    marked = MARK.mark(icon(1024), PAYLOAD)
    assert MARK.find(jpeg(marked[37:361, 81:405], 70), scales=(1.0,)).payload == PAYLOAD


@pytest.mark.parametrize("picture", [photograph(), icon()], ids=["photograph", "icon"])
def test_nobody_elses_picture_and_no_other_key_is_marked(picture):
    unmarked = MARK.find(picture)
    assert not unmarked.marked
    assert unmarked.payload is None
    assert not Watermark(b"another").find(MARK.mark(picture, PAYLOAD)).marked


def test_the_mark_is_small_and_spares_alpha():
    picture = np.dstack([photograph(), np.full((384, 384), 77, np.uint8)])
    marked = MARK.mark(picture, PAYLOAD)
    assert (marked[..., 3] == 77).all()
    difference = marked[..., :3].astype(float) - picture[..., :3]
    assert 0 < 10 * np.log10(np.mean(difference**2)) < 10 * np.log10(255**2) - 38, "at least 38 dB"


def test_equal_pictures_and_payloads_give_equal_pixels():
    one, other = (Watermark(b"a key").mark(photograph(), PAYLOAD) for _ in range(2))
    assert np.array_equal(one, other)
    assert not np.array_equal(one, MARK.mark(photograph(), PAYLOAD + 1))


def test_a_picture_marked_in_strips_has_no_seams(monkeypatch):
    whole = MARK.mark(photograph(), PAYLOAD)
    monkeypatch.setattr("services.safety.provenance.watermark.STRIP", TILE)
    assert np.array_equal(MARK.mark(photograph(), PAYLOAD), whole)


@pytest.mark.parametrize("side", [1, 7, 100])
def test_pictures_smaller_than_a_tile_are_marked_and_looked_at(side):
    marked = MARK.mark(photograph(side), PAYLOAD)
    assert marked.shape == (side, side, 3)
    assert 0 <= MARK.find(marked).p_value <= 1


@pytest.mark.parametrize("payload", [0, 1, 0xFFFFFFFF, PAYLOAD])
def test_payloads_are_told_by_symbols_and_back(payload):
    told = symbols(payload)
    assert payload_of(told) == payload
    assert all(0 <= down < TILE and 0 <= right < TILE for down, right in map(place, told))
    assert payload_of([told[0] ^ 1, *told[1:]]) != payload


def test_a_payload_has_32_bits():
    with pytest.raises(ValueError, match="32 bits"):
        symbols(1 << 32)
