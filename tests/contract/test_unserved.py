"""What the router tells who names a model that no backend serves, asked of a real model server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from router.unserved import Unserved
from scrollintel.visual.v1 import errors_pb2
from services.models.service import spec
from services.models.settings import Settings
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve

UNKNOWN = MeshError(errors_pb2.ERROR_REASON_MODEL_UNKNOWN, "nobody serves it")


@pytest.fixture
async def unserved(tmp_path: Path) -> AsyncIterator[Unserved]:
    settings = Settings(home=tmp_path, triton_address="127.0.0.1:1", manage=False)
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        yield Unserved(channel)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("sdxl", "sdxl needs weights: vmesh models build sdxl --weights DIR   # DIR: hf download "),
        ("sdxl-test", "sdxl-test is not built: vmesh models build sdxl-test"),
    ],
)
async def test_a_model_of_the_catalogue_is_told_with_its_command(
    unserved: Unserved, model: str, told: str
) -> None:
    error = await unserved.explain(UNKNOWN, model)
    assert error.name == "MODEL_NEEDS_WEIGHTS"
    assert error.message.startswith(f"image.model_preference: {told}")


async def test_a_model_of_nobody_stays_unknown(unserved: Unserved) -> None:
    assert await unserved.explain(UNKNOWN, "juggler") is UNKNOWN


async def test_without_a_model_server_what_was_said_stays_true() -> None:
    async with connect("127.0.0.1:1") as channel:
        assert await Unserved(channel).explain(UNKNOWN, "sdxl") is UNKNOWN
