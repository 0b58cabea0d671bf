"""The service's own manners, where no model is needed."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scrollintel.visual.v1.enhance_pb2 import EnhanceImageRequest
from scrollintel.visual.v1.spec_pb2 import EnhancementOperation, EnhancementSpec, PixelSize, Upscale
from services.enhance.passes import Passes
from services.enhance.service import EnhanceService
from services.enhance.settings import Settings
from services.runtime import images
from services.runtime.blobs import BlobStore

NOBODY = "127.0.0.1:1"


async def test_pictures_are_opened_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of a million empty chunks before its pixels must not stop every server of the process."""
    readers: set[threading.Thread] = set()
    open_image = Image.open

    def watched(*given: Any, **named: Any) -> Any:
        readers.add(threading.current_thread())
        return open_image(*given, **named)

    monkeypatch.setattr(Image, "open", watched)
    blobs = BlobStore.open("", tmp_path)
    png = await images.encode_png(np.zeros((8, 8, 3), np.uint8))
    source = await blobs.put(png, media_type="image/png", width=8, height=8)
    same = EnhancementOperation(upscale=Upscale(size=PixelSize(width=8, height=8)))
    request = EnhanceImageRequest(spec=EnhancementSpec(source=source, operations=[same]))
    nothing: Any = None
    settings = Settings(models_address=NOBODY)
    service = EnhanceService(blobs, Passes(nothing, nothing, nothing, settings), settings)
    events = [event async for event in service.EnhanceImage(request, nothing)]
    assert [event.WhichOneof("event") for event in events] == ["step", "image"]
    assert events[0].step.note == "nothing to do"
    assert readers
    assert threading.main_thread() not in readers


def test_restorers_are_named_in_the_environment_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMESH_ENHANCE_FACE_RESTORERS", "mine, yours")
    assert Settings(models_address=NOBODY).face_restorers == ("mine", "yours")
