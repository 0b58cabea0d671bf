"""Uploads are refused as early as their bytes allow."""

import hashlib
import io

import pytest
from PIL import Image

from services.assets.upload import Upload, UploadRefusedError


def png(size: tuple[int, int] = (40, 30)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 50).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_pieces_of_any_size_make_the_same_whole(piece: int) -> None:
    data = png()
    upload = Upload("image/png", hashlib.sha256(data).hexdigest())
    for start in range(0, len(data), piece):
        upload.add(data[start : start + piece])
    assert upload.finish() == data


def test_too_many_bytes_are_refused_when_they_come() -> None:
    upload = Upload("image/png", maximum_bytes=100)
    upload.add(png()[:100])
    with pytest.raises(UploadRefusedError, match="larger than 100 bytes"):
        upload.add(b"x")


def test_a_false_media_type_is_refused_with_the_first_bytes() -> None:
    upload = Upload("image/jpeg")
    upload.add(png()[:11])
    with pytest.raises(UploadRefusedError, match="announced as image/jpeg, and the bytes are image/png"):
        upload.add(png()[11:12])


@pytest.mark.parametrize("data", [b"<svg>", b"MZ" + bytes(40)])
def test_bytes_of_no_accepted_type_are_refused(data: bytes) -> None:
    with pytest.raises(UploadRefusedError, match="no accepted type"):  # noqa: PT012 - short bytes are told at the end
        upload = Upload("image/png")
        upload.add(data)
        upload.finish()


def test_an_empty_upload_is_refused() -> None:
    with pytest.raises(UploadRefusedError, match="no bytes"):
        Upload("image/png").finish()


def test_a_digest_that_does_not_match_is_refused() -> None:
    upload = Upload("image/png", "0" * 64)
    upload.add(png())
    with pytest.raises(UploadRefusedError, match="SHA-256"):
        upload.finish()
