"""Real files for the servers to hand out, and the jobs that ask for them."""

import tempfile
from functools import cache
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from router.backends.protocol import Job
from router.sizes import Size

KEY = "key_0123456789abcdef-do-not-tell"
PROMPT = "a lighthouse that nobody may read about"


@cache
def png(side: int = 16) -> bytes:
    """A PNG of one colour."""
    buffer = BytesIO()
    Image.new("RGB", (side, side), (200, 80, 40)).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def mp4() -> bytes:
    """An MP4 of four frames, encoded by OpenCV."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 8, (32, 32))
        for level in range(0, 160, 40):
            writer.write(np.full((32, 32, 3), level, np.uint8))
        writer.release()
        return path.read_bytes()


def job(**changes: object) -> Job:
    """One picture or video of 1280 × 720."""
    values = {
        "request_id": "req-1",
        "prompt": PROMPT,
        "negative_prompt": "",
        "seeds": (7,),
        "steps": 1,
        "guidance_scale": 0.0,
        "size": Size(1280, 720),
    }
    return Job(**(values | changes))
