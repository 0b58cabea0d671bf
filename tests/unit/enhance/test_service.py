"""The service's own manners, where no model is needed."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scrollintel.visual.v1.enhance_pb2 import EnhanceImageRequest
from scrollintel.visual.v1.spec_pb2 import EnhancementOperation, EnhancementSpec, PixelSize, Upscale
from services.enhance.service import EnhanceService
from services.enhance.settings import Settings
from services.runtime import images
from services.runtime.blobs import BlobStore


async def test_the_heads_of_pictures_are_read_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of a million empty chunks before its pixels must not stop every server of the process."""
    readers: set[threading.Thread] = set()

    def watched(read: Any) -> Any:
        def reading(data: bytes) -> Any:
            readers.add(threading.current_thread())
            return read(data)

        return reading

    for name in ("media_type_of", "has_alpha"):
        monkeypatch.setattr(images, name, watched(getattr(images, name)))
    blobs = BlobStore.open("", tmp_path)
    png = await images.encode_png(np.zeros((8, 8, 3), np.uint8))
    source = await blobs.put(png, media_type="image/png", width=8, height=8)
    same = EnhancementOperation(upscale=Upscale(size=PixelSize(width=8, height=8)))
    request = EnhanceImageRequest(spec=EnhancementSpec(source=source, operations=[same]))
    nothing: Any = None
    service = EnhanceService(blobs, nothing, Settings())
    events = [event async for event in service.EnhanceImage(request, nothing)]
    assert [event.WhichOneof("event") for event in events] == ["image"]
    assert readers
    assert threading.main_thread() not in readers
