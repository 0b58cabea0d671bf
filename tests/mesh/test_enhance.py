"""A photograph restored through every server: size, alpha, colours, seams, and what stops it."""

import asyncio
import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from scrollintel.visual import (
    Asset,
    Denoise,
    GenerationCancelledError,
    ModelError,
    RestoreFaces,
    Stage,
    Step,
    Upscale,
    VisualClient,
)
from scrollintel.visual.cli.png import SIGNATURE, is_sealed
from services.enhance.pixels import split_alpha
from services.local.mesh import LocalMesh
from tests.mesh.terminal import vmesh
from tests.mesh.triton_idle import busy_share, seconds_until_idle

Pixels = NDArray[np.uint8]

SIDE = 512
NOISE = 18  # standard deviation, in levels

pytestmark = pytest.mark.timeout(300)


def clean() -> Pixels:
    return np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]


def noisy() -> Pixels:
    noise = np.random.default_rng(0).normal(0, NOISE, (SIDE, SIDE, 3))
    return np.clip(clean() + noise, 0, 255).astype(np.uint8)


def disc() -> Pixels:
    """An alpha that is opaque inside, transparent outside, with twenty pixels of everything between."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.clip((250 - np.hypot(x - 256, y - 256)) * 12, 0, 255).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


async def pixels_of(asset: Asset) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(await asset.read())))


def before_sealing(sealed: Pixels, home: Path) -> Pixels:
    """Return what the enhance server stored of a delivered picture, before it was marked: the nearest of its size."""
    near: list[tuple[float, Pixels]] = []
    for file in (home / "blobs").glob("*/*"):
        data = file.read_bytes()
        if data.startswith(SIGNATURE) and not is_sealed(data):
            picture = Image.open(io.BytesIO(data))
            if (picture.height, picture.width, len(picture.getbands())) == sealed.shape:
                pixels = np.asarray(picture)
                near.append((float(np.abs(pixels.astype(int) - sealed).mean()), pixels))
    distance, nearest = min(near, key=lambda each: each[0])
    assert 0 < distance < 3, "what was delivered is that picture, marked"
    return nearest


@dataclass(frozen=True)
class Restored:
    """What one photograph became, alone denoised and enlarged as well, and how that left the models."""

    denoised: Pixels
    enlarged: Pixels
    denoised_unsealed: Pixels
    enlarged_unsealed: Pixels
    steps: tuple[Step, ...]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def restored(client: VisualClient, mesh: LocalMesh) -> Restored:
    picture, steps = np.dstack([noisy(), disc()]), []
    denoised = await client.enhance(png(picture), Denoise())
    enlarged = await client.enhance(
        png(picture), Denoise(), Upscale(factor=4), on_step=steps.append, timeout=200
    )
    delivered = [await pixels_of(asset) for asset in (denoised, enlarged)]
    unsealed = [await asyncio.to_thread(before_sealing, each, mesh.home) for each in delivered]
    return Restored(*delivered, *unsealed, tuple(steps))


def test_each_operation_is_told(restored: Restored) -> None:
    told = [(step.stage, step.k, step.n) for step in restored.steps]
    assert told[:2] == [(Stage.DENOISE, 1, 1), (Stage.UPSCALE, 1, 1)]


def test_the_size_is_four_times_and_alpha_is_the_alpha_resampled(restored: Restored) -> None:
    assert restored.enlarged.shape == (4 * SIDE, 4 * SIDE, 4)
    resampled = cv2.resize(disc(), (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_LANCZOS4)
    assert (restored.enlarged[..., 3] == resampled).all()
    assert (restored.denoised[..., 3] == disc()).all()


def psnr(picture: Pixels, truth: Pixels, where: NDArray[np.bool_]) -> float:
    return float(20 * np.log10(255 / np.sqrt(np.mean((picture[where] - truth[where].astype(float)) ** 2))))


def test_it_is_nearer_to_the_truth_than_the_noisy_picture_resampled(
    restored: Restored, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the size of the original, for of no larger one is anything known; where it can be seen."""
    seen = disc() > 128
    back = cv2.resize(restored.enlarged[..., :3], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    bicubic = cv2.resize(noisy(), (4 * SIDE, 4 * SIDE), interpolation=cv2.INTER_CUBIC)
    plain = cv2.resize(bicubic, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    denoised = psnr(restored.denoised[..., :3], clean(), seen)
    ours, theirs = psnr(back, clean(), seen), psnr(plain, clean(), seen)
    with capsys.disabled():
        print(
            f"\nnoise {NOISE}: bicubic {theirs:.1f} dB, denoised {denoised:.1f} dB, and enlarged {ours:.1f} dB"
        )
    assert denoised > psnr(noisy(), clean(), seen) + 4
    assert ours > theirs + 1
    # The same colours as the picture had: compact by itself lightens the clean photograph by 2.0 to 2.5 levels.
    given, denoised_mean, mean = (p[seen].mean(0) for p in (noisy(), restored.denoised[..., :3], back))
    assert np.abs(denoised_mean - given).max() < 1
    assert np.abs(mean - given).max() < 4


def test_no_seam_where_tiles_meet(restored: Restored, model_repository: Path) -> None:
    """Against the same network over the whole picture at once, tiles or not.

    Of 255 levels at most 3 apart, and more than one in a few pixels of a hundred thousand: it sees 18 pixels far, of
    which tiles share 8 on each side. Without sharing any they are 8 and more apart.
    """
    graph = model_repository / "upscale_realesrgan" / "1" / "compact.onnx"
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    colour, alpha = split_alpha(restored.denoised_unsealed)
    image = colour.astype(np.float32).transpose(2, 0, 1)[None] / 255
    (whole,) = session.run(None, {session.get_inputs()[0].name: image})
    whole = np.clip(np.rint(whole[0].transpose(1, 2, 0) * 255), 0, 255)
    inner = cv2.erode(alpha, np.ones((49, 49), np.uint8)) == 255  # as far as the network sees of the hidden
    assert inner[:, 304].any(), "a border of tiles goes through what is looked at"
    difference = np.abs(restored.enlarged_unsealed[..., :3] - whole)[inner.repeat(4, 0).repeat(4, 1)]
    assert difference.max() <= 3
    assert (difference > 1).mean() < 1e-4


async def test_restoring_faces_names_the_command_that_brings_the_weights(client: VisualClient) -> None:
    """Nobody brought any here."""
    with pytest.raises(ModelError, match="vmesh models build face_restoration_gfpgan --weights") as caught:
        await client.enhance(png(clean()[:64, :64]), RestoreFaces())
    assert caught.value.reason == "MODEL_NEEDS_WEIGHTS"


async def test_cancelling_reaches_the_model(client: VisualClient, mesh: LocalMesh) -> None:
    uploaded = await client.upload(png(clean()))
    generation = client.enhance_image(uploaded, Upscale(factor=4, variant="x4plus-anime"))
    await anext(generation)
    async with asyncio.timeout(60):
        while await busy_share(mesh.triton.pid or 0) < 0.3:
            pass
    await generation.cancel()
    with pytest.raises(GenerationCancelledError):
        await generation.result()
    await seconds_until_idle(mesh.triton.pid or 0)


async def test_the_command_brings_one_file_through_and_tells_of_the_other(
    mesh: LocalMesh, tmp_path: Path
) -> None:
    photo, text = tmp_path / "photo.png", tmp_path / "text.png"
    photo.write_bytes(png(noisy()[:96, :128]))
    text.write_bytes(b"no picture")
    code, out, err = await vmesh(
        "enhance", str(photo), str(text), "--upscale", "2", "--denoise", home=mesh.home
    )
    assert code == 1
    assert out == f"{tmp_path / 'photo-enhanced.png'}\n"
    assert "text.png is no PNG, JPEG, WebP or MP4 file" in err
    assert [err.index(word) for word in ("denoised", "enlarged", "done")] == sorted(
        err.index(word) for word in ("denoised", "enlarged", "done")
    )
    assert Image.open(out.strip()).size == (256, 192)
    assert photo.read_bytes() == png(noisy()[:96, :128])
