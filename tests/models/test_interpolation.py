"""Frames between frames on the real Triton: optical flow on known motion, cuts, hidden ground, any size."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient

from tests.models.calls import infer
from tests.models.pictures import Image, photograph, refused, sized

MODEL = "interpolation_flow"


async def between(client: InferenceServerClient, first: Image, second: Image, *times: float) -> Image:
    asked = np.array(times, np.float32)
    return (await infer(client, MODEL, first=first, second=second, times=asked))["frames"]


def moved(image: Image, across: float, down: float = 0, turned: float = 0, grown: float = 1) -> Image:
    """A window of 240 x 240 pixels over a moving, turning, growing picture."""
    matrix = np.asarray(cv2.getRotationMatrix2D((256, 256), turned, grown), np.float64)
    matrix[:, 2] += across, down
    return np.asarray(
        cv2.warpAffine(image, matrix, (512, 512), flags=cv2.INTER_CUBIC)[136:376, 136:376], np.uint8
    )


def blended(first: Image, second: Image, time: float) -> Image:
    return np.asarray(cv2.addWeighted(first, 1 - time, second, time, 0), np.uint8)


@pytest.mark.parametrize(
    "step", [{"across": 12.0}, {"across": -6.0, "down": 9.0}, {"across": 2.0, "turned": 4.0, "grown": 1.03}]
)
async def test_a_moving_picture_is_found_on_its_way(
    client: InferenceServerClient, step: dict[str, float]
) -> None:
    """Truth is the picture moved by a part of the way; blending shows it twice."""
    whole = photograph()

    def at(time: float) -> Image:
        growth = {"grown": step.get("grown", 1) ** time}
        return moved(whole, **({name: value * time for name, value in step.items()} | growth))

    times = (0.25, 0.5, 0.8)
    frames = await between(client, at(0), at(1), *times)
    assert frames.shape == (3, 240, 240, 3)
    for time, frame in zip(times, frames, strict=True):
        inside = np.s_[24:-24, 24:-24]  # what comes in at a side is seen in one picture alone
        found, mixed, truth = (
            np.ascontiguousarray(part[inside]) for part in (frame, blended(at(0), at(1), time), at(time))
        )
        assert cv2.PSNR(found, truth) > cv2.PSNR(mixed, truth) + 6
        assert cv2.PSNR(found, truth) > 28


async def test_ground_that_is_uncovered_comes_from_where_it_is_seen(client: InferenceServerClient) -> None:
    """A square passes over a photograph: before and behind it the ground is seen in one of the pictures only."""

    def at(left: int) -> Image:
        frame = np.ascontiguousarray(photograph("coffee")[100:260, 100:340])
        frame[50:110, left : left + 60] = cv2.resize(photograph("chelsea")[:200, :200], (60, 60))
        return frame

    (frame,) = await between(client, at(60), at(80), 0.5)
    found, mixed = (cv2.PSNR(part, at(70)) for part in (frame, blended(at(60), at(80), 0.5)))
    assert found > mixed + 4


async def test_over_a_cut_the_nearer_picture_is_taken(client: InferenceServerClient) -> None:
    first, second = photograph("coffee")[:200, :200], photograph("chelsea")[:200, :200]
    early, late = await between(client, first, second, 0.3, 0.7)
    np.testing.assert_array_equal(early, first)
    np.testing.assert_array_equal(late, second)


async def test_where_nothing_moves_nothing_changes(client: InferenceServerClient) -> None:
    image = photograph()
    (frame,) = await between(client, image, image, 0.5)
    np.testing.assert_array_equal(frame, image)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 300), (513, 511), (2, 32766)])
async def test_any_size(client: InferenceServerClient, height: int, width: int) -> None:
    image = sized(height, width)
    frames = await between(client, image, image, 0.1, 0.9)
    np.testing.assert_array_equal(frames, [image, image])


PICTURE = np.zeros((8, 8, 3), np.uint8)
HALF = np.array([0.5], np.float32)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"second": np.zeros((8, 9, 3), np.uint8)}, "second: must be as large as first, 8x8; 9x8 given"),
        (
            {"times": np.array([0.5, 1], np.float32)},
            "times: must hold at least one number, each above 0 and below 1",
        ),
        ({"times": np.array([np.nan], np.float32)}, "times: must hold"),
        ({"times": np.zeros(0, np.float32)}, "times: must hold"),
        (
            {name: np.zeros((2, 32767, 3), np.uint8) for name in ("first", "second")},
            "first: must be at most 32766 pixels a side; 32767x2 given",
        ),
        ({"times": np.full(262145, 0.5, np.float32)}, "first: must have 1 to 16777216 pixels"),
    ],
)
async def test_bad_tensors_are_refused(
    client: InferenceServerClient, changes: dict[str, NDArray[np.generic]], rule: str
) -> None:
    given: dict[str, NDArray[np.generic]] = {"first": PICTURE, "second": PICTURE, "times": HALF, **changes}
    assert rule in await refused(client, MODEL, **given)
