"""Open Image Denoise on the real Triton: any size, less noise than before, clean pictures left alone, no seams."""

import asyncio
from pathlib import Path

import cv2
import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient

from services.local.triton import Triton
from services.runtime.workers import find_workers
from tests.models.calls import cpu_seconds
from tests.models.pictures import noisy, photograph, refused, restore, served_code, sized

MODEL = "denoise_oidn"
denoising, oidn = served_code(MODEL, "denoising"), served_code(MODEL, "oidn")


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (7, 300), (513, 511)])
async def test_any_size(client: InferenceServerClient, height: int, width: int) -> None:
    image = noisy(sized(height, width), 20)
    cleaned = await restore(client, MODEL, image)
    assert cleaned.shape == image.shape
    assert np.abs(cleaned.astype(int) - image).mean() < 25  # the same picture, right way up, right colours


@pytest.mark.parametrize(("sigma", "gain"), [(10, 4), (25, 8), (50, 8)])
async def test_noise_goes_and_the_picture_stays(
    client: InferenceServerClient, sigma: float, gain: float
) -> None:
    truth = photograph("chelsea")[:256, :256]
    image = noisy(truth, sigma)
    cleaned = await restore(client, MODEL, image)
    assert cv2.PSNR(cleaned, truth) > cv2.PSNR(image, truth) + gain
    assert np.abs(cleaned.mean((0, 1)) - image.mean((0, 1))).max() < 3  # no channel is shifted


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
async def test_a_clean_picture_comes_back_nearly_as_it_was(client: InferenceServerClient, name: str) -> None:
    image = photograph(name)
    assert cv2.PSNR(await restore(client, MODEL, image), image) > 50


async def test_a_drawing_without_noise_comes_back_as_it_was(client: InferenceServerClient) -> None:
    image = np.full((64, 64, 3), 255, np.uint8)
    cv2.circle(image, (32, 32), 20, (200, 30, 30), -1)
    np.testing.assert_array_equal(await restore(client, MODEL, image), image)


@pytest.mark.parametrize("sigma", [5, 10, 25])
def test_the_noise_level_is_measured(sigma: float) -> None:
    assert denoising.noise_level(noisy(photograph("rocket"), sigma)) == pytest.approx(sigma, rel=0.25)


def test_the_share_rises_from_none_to_all() -> None:
    shares = [denoising.share(level) for level in (0, denoising.CLEAN, 4, denoising.NOISY, 50)]
    assert shares == [0, 0, 0.5, 1, 1]


def test_what_the_library_tiles_has_no_seams(model_repository: Path) -> None:
    """With little memory it cuts the picture up; the result may not show where."""
    directory = model_repository / MODEL / "1"
    image = noisy(np.tile(photograph(), (2, 2, 1))[:768, :768], 20).astype(np.float32) / 255
    whole, tiled = oidn.Denoiser(directory, 2, 4000), oidn.Denoiser(directory, 2, 100)
    try:
        difference = np.abs(whole.denoise(image) - tiled.denoise(image)) * 255
    finally:
        whole.close()
        tiled.close()
    assert difference.max() <= 1


async def test_a_caller_who_goes_away_stops_it(client: InferenceServerClient, triton: Triton) -> None:
    """A large picture, several seconds of work; the caller goes away at once."""
    assert triton.pid is not None
    (worker,) = (pid for pid, model in find_workers(triton.pid).items() if model == MODEL)
    call = asyncio.create_task(restore(client, MODEL, noisy(np.tile(photograph(), (6, 6, 1)), 20)))
    await asyncio.sleep(1.5)
    call.cancel()
    before = cpu_seconds(worker)
    await restore(client, MODEL, np.zeros((8, 8, 3), np.uint8))  # its turn comes when the other has stopped
    assert cpu_seconds(worker) - before < 8


async def test_too_many_pixels_are_refused(client: InferenceServerClient) -> None:
    words = await refused(client, MODEL, image=np.zeros((4096, 4097, 3), np.uint8))
    assert "image: must have 1 to 16777216 pixels; 4097x4096 given" in words
    assert "0x5 given" in await refused(client, MODEL, image=np.zeros((5, 0, 3), np.uint8))
