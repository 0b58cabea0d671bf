"""What bytes are, told from their signature."""

import io

import pytest
from PIL import Image

from services.assets.media_type import SIGNATURE_BYTES, sniff_media_type


@pytest.mark.parametrize(
    ("form", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")]
)
def test_real_files_are_recognised_by_their_head(form: str, media_type: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(file, form)
    assert sniff_media_type(file.getvalue()[:SIGNATURE_BYTES]) == media_type


def test_a_video_is_recognised_by_its_head() -> None:
    assert sniff_media_type(b"\0\0\0\x20ftypisom"[:SIGNATURE_BYTES]) == "video/mp4"
    assert sniff_media_type(b"ftypisom\0\0\0\0") == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0",
        b"GIF89a\0\0\0\0\0\0",
        b"<svg xmlns=",
        b"\xff\xd8",
        b"x" + b"\x89PNG\r\n\x1a\n",
    ],
)
def test_anything_else_is_nothing(data: bytes) -> None:
    assert sniff_media_type(data) == ""
