"""What the passes ask of models: nothing too large for a message, under a lease, alpha left aside."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.enhance import faces
from services.enhance.passes import DETECTOR, FACES_AT_ONCE, Passes
from services.enhance.plan import Enlarge, Filter, RestoreFaces
from services.enhance.settings import Settings
from services.runtime.channels import MAX_MESSAGE_BYTES

FACE = np.array([[203, 102], [247, 104], [223, 125], [203, 142], [241, 144]], np.float32)
RESTORER = "restorer"


class Mesh:
    """Triton and the models server in one: darkens what it is given, and finds `faces` in pictures of any size."""

    def __init__(self, faces: NDArray[np.float32]) -> None:
        self.faces = faces
        self.leased: set[str] = set()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.patience: dict[str, float] = {}

    @asynccontextmanager
    async def use(self, model: str, *, timeout: float) -> AsyncIterator[None]:
        self.leased.add(model)
        yield
        self.leased.remove(model)

    async def first_of(self, names: tuple[str, ...]) -> str:
        return names[0]

    async def infer(self, model: str, inputs: Mapping[str, NDArray[Any]], timeout: float) -> dict[str, Any]:
        assert model in self.leased or model == "upscale_realesrgan"
        assert sum(value.nbytes for value in inputs.values() if value.dtype != object) < MAX_MESSAGE_BYTES
        self.asked.append((model, dict(inputs)))
        self.patience[model] = timeout
        if model == DETECTOR:
            return {"landmarks": self.faces * (inputs["image"].shape[0] / 512)}
        if model == RESTORER:
            return {"faces": inputs["faces"] // 2}
        scale = 4 if model == "upscale_realesrgan" else 1
        return {"image": (inputs["image"] // 2).repeat(scale, 0).repeat(scale, 1)}


def passes(mesh: Mesh) -> Passes:
    anything: Any = mesh
    return Passes(anything, anything, anything, Settings(models_address="", face_restorers=(RESTORER,)))


def ramp(side: int, channels: int = 3) -> NDArray[np.uint8]:
    row = np.linspace(40, 240, side).astype(np.uint8)
    return np.repeat(np.repeat(row[:, None, None], side, 1), channels, 2)


@pytest.mark.parametrize("side", [512, 5200])
async def test_faces_are_found_in_and_restored_at_the_pictures_own_size(side: int) -> None:
    mesh, picture = Mesh(FACE[None]), ramp(side)
    result, note = await passes(mesh).run(RestoreFaces(0.25), picture)
    assert note == f"1 face by {RESTORER}"
    assert max(mesh.asked[0][1]["image"].shape) <= 2048
    assert mesh.asked[1][1]["fidelity"].tolist() == [0.25]
    x, y = (FACE[2] * side / 512).astype(int)
    np.testing.assert_allclose(result[y, x], picture[y, x] / 2, atol=3)
    changed = np.argwhere(np.abs(result.astype(int) - picture).max(2) > 8) * 512 / side
    assert (changed.min(0) > (35, 165)).all()
    assert (changed.max(0) < (190, 285)).all()
    assert not mesh.leased


async def test_a_crowd_is_cut_out_and_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = np.mgrid[:5, :5]
    places = np.stack([columns.ravel(), rows.ravel()], 1)[:, None] * 60 - 100
    mesh = Mesh((FACE[None] + places).astype(np.float32))
    cut: list[int] = []

    def cut_out(picture: NDArray[np.uint8], cut_: faces.Cut) -> NDArray[np.uint8]:
        cut.append(len(mesh.asked))
        return original(picture, cut_)

    original = faces.cut_out
    monkeypatch.setattr(faces, "cut_out", cut_out)
    _, note = await passes(mesh).run(RestoreFaces(0), ramp(512))
    # Each part after the one before it was sent; the detector was asked first of all.
    assert cut == [1] * FACES_AT_ONCE + [2] * FACES_AT_ONCE + [3] * FACES_AT_ONCE + [4]
    sent = [len(inputs["faces"]) for model, inputs in mesh.asked if model == RESTORER]
    assert note == f"25 faces by {RESTORER}"
    assert sent == [FACES_AT_ONCE, FACES_AT_ONCE, FACES_AT_ONCE, 1]


async def test_without_faces_nothing_is_restored_and_the_picture_is_the_same_one() -> None:
    mesh, picture = Mesh(np.zeros((0, 5, 2), np.float32)), ramp(64, 4)
    assert await passes(mesh).run(RestoreFaces(0), picture) == (picture, "no face found")
    assert [model for model, _ in mesh.asked] == [DETECTOR]


@pytest.mark.parametrize("step", [Filter("denoise_oidn"), Enlarge("compact"), RestoreFaces(0)])
async def test_no_model_sees_alpha_which_is_resampled_alone(step: Filter | Enlarge | RestoreFaces) -> None:
    mesh, picture = Mesh(FACE[None] / 8), ramp(64, 4)
    picture[..., 3] = 255
    picture[:20, :, 3] = 0
    result, _ = await passes(mesh).run(step, picture)
    assert all(inputs["image"].shape[2] == 3 for _, inputs in mesh.asked if "image" in inputs)
    scale = len(result) // 64
    assert (result[25 * scale :, :, 3] == 255).all()
    assert (result[: 15 * scale, :, 3] == 0).all()
    assert (result[40 * scale, 40 * scale, :3] < picture[40, 40, :3]).all() or isinstance(step, RestoreFaces)


async def test_a_small_picture_waits_for_its_turn_behind_large_ones() -> None:
    """A model that takes one at a time is at the largest that may be deblurred for six minutes."""
    mesh = Mesh(FACE[None])
    for step, side in ((Filter("denoise_oidn"), 64), (Filter("deblur_maxim"), 64), (RestoreFaces(0), 512)):
        await passes(mesh).run(step, ramp(side))
    assert min(mesh.patience[model] for model in ("denoise_oidn", "deblur_maxim", RESTORER)) > 6 * 60
