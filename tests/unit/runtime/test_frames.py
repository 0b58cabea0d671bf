"""Frames from chunks: every layout reads back, and what breaks a rule is refused before it is held."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from scrollintel.visual.v1 import media_pb2
from scrollintel.visual.v1.media_pb2 import FrameChunk
from services.runtime.errors import MeshError
from services.runtime.frames import Frames, Limits

HEIGHT, WIDTH = 6, 8
LIMITS = Limits(frames=3, pixels=64)
PICTURE = np.full((HEIGHT, WIDTH, 3), (200, 90, 40), np.uint8)
PICTURE[:, WIDTH // 2 :] = (30, 60, 220)
RAW = media_pb2.FRAME_CODEC_RAW
RGB = media_pb2.PIXEL_FORMAT_RGB24


def chunks(data: bytes, size: int = 1 << 20, **values: Any) -> Iterator[FrameChunk]:
    """Yield the chunks of one frame."""
    named: dict[str, Any] = {"width": WIDTH, "height": HEIGHT, "pixel_format": RGB, "codec": RAW, **values}
    for start in range(0, len(data), size):
        yield FrameChunk(
            data=data[start : start + size], offset=start, last=start + size >= len(data), **named
        )


async def read(*frames: Iterator[FrameChunk], limits: Limits = LIMITS) -> list[np.ndarray]:
    gathered = Frames(limits)
    found = []
    for frame in frames:
        for chunk in frame:
            picture = await gathered.add(chunk)
            if picture is not None:
                found.append(picture)
    gathered.end()
    return found


def yuv() -> np.ndarray:
    return np.asarray(cv2.cvtColor(PICTURE, cv2.COLOR_RGB2YUV_I420), np.uint8)


def png() -> bytes:
    return bytes(cv2.imencode(".png", PICTURE[..., ::-1])[1])


LAYOUTS = {
    "rgb": (PICTURE.tobytes(), RGB, RAW, 0),
    "rgba": (np.dstack([PICTURE, np.full((HEIGHT, WIDTH), 255, np.uint8)]).tobytes(), 2, RAW, 0),
    "yuv": (yuv().tobytes(), 3, RAW, 3),
    "yuv of 10 bits": ((yuv().astype("<u2") << 2).tobytes(), 4, RAW, 3),
    "png": (png(), RGB, media_pb2.FRAME_CODEC_PNG, 0),
    "jpeg": (bytes(cv2.imencode(".jpg", PICTURE[..., ::-1])[1]), RGB, media_pb2.FRAME_CODEC_JPEG, 12),
}


@pytest.mark.parametrize("size", [7, 1 << 20])
@pytest.mark.parametrize("layout", LAYOUTS)
async def test_every_layout_reads_back(layout: str, size: int) -> None:
    data, pixel_format, codec, error = LAYOUTS[layout]
    (found,) = await read(chunks(data, size, pixel_format=pixel_format, codec=codec))
    assert found.shape == PICTURE.shape
    assert np.abs(found.astype(int) - PICTURE).mean() <= error


async def test_what_is_seen_through_lies_on_white() -> None:
    clear = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    (found,) = await read(chunks(clear.tobytes(), pixel_format=media_pb2.PIXEL_FORMAT_RGBA32))
    assert (found == 255).all()


RAW_BYTES = PICTURE.tobytes()


@pytest.mark.parametrize(
    ("frames", "field", "rule"),
    [
        ([], "frame", "at least one"),
        ([chunks(RAW_BYTES, width=11)], "frame.width", "64"),
        ([chunks(b"x", width=5, pixel_format=3)], "frame.width", "even"),
        ([chunks(RAW_BYTES), chunks(RAW_BYTES)], "frame.index", "must rise"),
        ([chunks(RAW_BYTES, index=i) for i in range(4)], "frame.index", "more than 3"),
        ([chunks(RAW_BYTES), chunks(RAW_BYTES, index=1, width=7)], "frame.width", "first frame"),
        ([chunks(RAW_BYTES[:-1])], "frame.data", "144 bytes, and 143"),
        ([chunks(RAW_BYTES + b"x")], "frame.data", "144 bytes at most"),
        ([iter([next(chunks(RAW_BYTES, 50))])], "frame.last", "did not come to its end"),
        (
            [iter([FrameChunk(width=8, height=6, pixel_format=RGB, codec=RAW, data=b"")])],
            "frame.data",
            "empty",
        ),
        ([iter([*chunks(RAW_BYTES, 50)][::2])], "frame.offset", "must be 50"),
        ([chunks(png(), codec=2, width=7)], "frame.data", "announced as 7 × 6"),
        ([chunks(b"junk", codec=2)], "media", "not a PNG"),
    ],
)
async def test_what_breaks_a_rule_is_named(frames: list[Iterator[FrameChunk]], field: str, rule: str) -> None:
    with pytest.raises(MeshError, match=rule) as refused:
        await read(*frames)
    assert refused.value.field == field


async def test_shared_memory_is_refused() -> None:
    chunk = next(chunks(RAW_BYTES))
    chunk.shared_memory.region = "ring"
    with pytest.raises(MeshError, match="shared_memory"):
        await read(iter([chunk]))
