"""The upscaler on the real Triton: numbers, seams, any size, fairness between callers."""

import asyncio
import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from skimage import data
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.local.triton import Triton
from services.models.serving.tiles import Mosaic, Tiling, tiles
from services.runtime.workers import find_workers
from tests.models.calls import cpu_seconds, infer, texts

MODEL = "upscale_realesrgan"
Image = NDArray[np.uint8]


def photograph() -> Image:
    return np.asarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]


def resize(image: Image, width: int, height: int, how: int = cv2.INTER_AREA) -> Image:
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


async def upscale(client: InferenceServerClient, image: Image, *variant: str) -> Image:
    inputs = {"image": image} | ({"variant": texts(*variant)} if variant else {})
    return (await infer(client, MODEL, **inputs))["image"]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (1, 40), (60, 349)])
async def test_any_size(client: InferenceServerClient, height: int, width: int) -> None:
    image = resize(photograph(), width, height)
    enlarged = await upscale(client, image)
    assert enlarged.shape == (4 * height, 4 * width, 3)
    back = resize(enlarged, width, height)
    assert np.abs(back.astype(int) - image).mean() < 20  # the same picture; another is 60 and more away


@pytest.mark.parametrize("variant", ["compact", "x4plus-anime", "x4plus"])
async def test_a_flat_colour_stays_flat(client: InferenceServerClient, variant: str) -> None:
    enlarged = await upscale(client, np.full((12, 12, 3), (200, 120, 40), np.uint8), variant)
    assert np.abs(enlarged.astype(int) - (200, 120, 40)).max() <= 6


async def test_figures_on_a_photograph(
    client: InferenceServerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """PSNR after 4 x down and up. These networks sharpen: on photographs they lose to bicubic on this measure."""
    whole = photograph()[:256, :256]
    small = resize(whole, 64, 64)
    bicubic = cv2.PSNR(whole, resize(small, 256, 256, cv2.INTER_CUBIC))
    started = time.perf_counter()
    compact = cv2.PSNR(whole, await upscale(client, small))
    seconds = time.perf_counter() - started
    with capsys.disabled():
        print(f"\n64 -> 256: bicubic {bicubic:.1f} dB, compact {compact:.1f} dB in {seconds:.2f} s")
    assert compact > bicubic - 3
    assert compact > 20


async def test_sharpens_an_icon_better_than_bicubic(client: InferenceServerClient) -> None:
    """Drawn edges are what it is for."""
    large = np.full((256, 256, 3), 255, np.uint8)
    cv2.circle(large, (128, 128), 90, (220, 40, 40), -1, cv2.LINE_AA)
    cv2.line(large, (60, 200), (200, 60), (30, 60, 200), 9, cv2.LINE_AA)
    small = resize(large, 64, 64)
    bicubic = resize(small, 256, 256, cv2.INTER_CUBIC)
    assert cv2.PSNR(large, await upscale(client, small)) > cv2.PSNR(large, bicubic)


async def test_a_short_upscale_overtakes_a_long_one(client: InferenceServerClient) -> None:
    long = asyncio.create_task(upscale(client, np.zeros((100, 100, 3), np.uint8), "x4plus-anime"))
    await asyncio.sleep(0.2)
    await upscale(client, np.zeros((8, 8, 3), np.uint8))
    assert not long.done()
    await long


async def test_long_upscales_do_not_starve_a_short_one(client: InferenceServerClient) -> None:
    """Two of the largest take all workers and all memory there is for their like; the short one's turn comes soon."""
    long = [asyncio.create_task(upscale(client, np.zeros((2048, 2048, 3), np.uint8))) for _ in range(2)]
    await asyncio.sleep(0.5)
    await upscale(client, np.zeros((8, 8, 3), np.uint8))
    assert not any(task.done() for task in long)
    for task in long:
        task.cancel()
    await asyncio.gather(*long, return_exceptions=True)


async def test_upscales_at_the_same_time_are_those_of_one_alone(client: InferenceServerClient) -> None:
    pictures = [resize(photograph(), 20 + 3 * number, 24) for number in range(4)]
    alone = [await upscale(client, picture) for picture in pictures]
    together = await asyncio.gather(*(upscale(client, picture) for picture in pictures * 2))
    for enlarged, expected in zip(together, alone * 2, strict=True):
        np.testing.assert_array_equal(enlarged, expected)


async def test_cancelling_stops_before_the_next_tile(client: InferenceServerClient, triton: Triton) -> None:
    """A hundred tiles of some seconds each; the caller goes away during the first. Counted in processor time."""
    assert triton.pid is not None
    workers = [pid for pid, model in find_workers(triton.pid).items() if model == MODEL]
    call = asyncio.create_task(upscale(client, np.zeros((1200, 1200, 3), np.uint8), "x4plus-anime"))
    before = {pid: cpu_seconds(pid) for pid in workers}
    await asyncio.sleep(0.5)
    call.cancel()
    while True:
        seen = sum(map(cpu_seconds, workers))
        await asyncio.sleep(1.0)
        if sum(map(cpu_seconds, workers)) - seen < 0.02:
            break
    assert (
        0.02 < sum(map(cpu_seconds, workers)) - sum(before.values()) < 30
    )  # it had begun, and did not go on


@pytest.mark.parametrize(
    ("image", "variant", "rule"),
    [
        (
            np.zeros((4, 4, 3), np.uint8),
            "x2",
            "variant: must be one of compact, x4plus-anime, x4plus; 'x2' given",
        ),
        (
            np.zeros((2049, 2048, 3), np.uint8),
            "compact",
            "image: must have 1 to 4194304 pixels; 2048x2049 given",
        ),
        (np.zeros((0, 4, 3), np.uint8), "compact", "image: must have 1 to 4194304 pixels; 4x0 given"),
    ],
)
async def test_bad_tensors_are_refused(
    client: InferenceServerClient, image: Image, variant: str, rule: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        await upscale(client, image, variant)
    assert rule in caught.value.message()


@pytest.fixture(scope="module")
def compact(model_repository: Path) -> onnxruntime.InferenceSession:
    graph = model_repository / MODEL / "1" / "compact.onnx"
    return onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])


def enlarged(image: Image, session: onnxruntime.InferenceSession, tiling: Tiling) -> NDArray[np.int64]:
    mosaic = Mosaic(*image.shape[:2], tiling, 4)
    for tile in tiles(image, tiling, 4):
        mosaic.add(tile, session.run(None, {"image": tile.pixels})[0])
    return mosaic.picture().astype(int)


def test_no_seam_is_visible(compact: onnxruntime.InferenceSession) -> None:
    """Many small tiles against one whole: at most one level of 255 apart, and no worse at the seams."""
    image = photograph()[:140, 60:220]
    whole = enlarged(image, compact, Tiling(size=400, margin=8, discard=8, blend=8))
    tiled = enlarged(image, compact, Tiling(size=64, margin=8, discard=8, blend=8))
    assert np.abs(tiled - whole).max() <= 1
    careless = enlarged(image, compact, Tiling(size=64, margin=8, discard=0, blend=1))
    assert np.abs(careless - whole).max() > 8  # so the line above can fail
