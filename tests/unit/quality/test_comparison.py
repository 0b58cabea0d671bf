"""Two pictures of one size, held against scikit-image's own measures and against what spoils pictures."""

import math
from collections.abc import Callable
from dataclasses import astuple
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from services.quality.comparison import Difference, color_difference, compare, psnr, refuse
from services.quality.metrics.gradients import gmsd
from services.quality.metrics.luminance import Pixels, to_luminance
from services.quality.metrics.structure import STRIP, similarities
from tests.unit.quality.pictures import as_jpeg, blurred, noisy, photograph, tinted

CROP = photograph("astronaut")[:256, 100:356]
SPOILERS: dict[str, list[Pixels]] = {
    "blur": [blurred(CROP, by) for by in (0.5, 1.0, 2.0, 4.0)],
    "noise": [noisy(CROP, by) for by in (4, 8, 16, 32)],
    "jpeg": [as_jpeg(CROP, by) for by in (90, 50, 20, 5)],
}


@cache
def differences(spoiler: str) -> list[Difference]:
    """From none to much."""
    return [compare(CROP, spoilt) for spoilt in (CROP, *SPOILERS[spoiler])]


def luminances(spoilt: Pixels) -> tuple[np.ndarray, np.ndarray]:
    return to_luminance(CROP), to_luminance(spoilt)


@pytest.mark.parametrize("spoilt", [SPOILERS["blur"][2], SPOILERS["noise"][2], SPOILERS["jpeg"][2]])
def test_ssim_and_psnr_are_what_scikit_image_measures(spoilt: Pixels) -> None:
    one, other = luminances(spoilt)
    expected = structural_similarity(
        one, other, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert similarities(one, other)[0] == pytest.approx(expected, abs=1e-4)
    assert psnr(CROP, spoilt) == pytest.approx(peak_signal_noise_ratio(CROP, spoilt), abs=1e-6)


def test_measuring_in_strips_changes_nothing() -> None:
    tall = np.vstack([to_luminance(photograph("camera"))] * 3)[: 2 * STRIP + 11]
    spoilt = to_luminance(noisy(np.dstack([tall.astype(np.uint8)] * 3), 12))
    expected = structural_similarity(
        tall, spoilt, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert similarities(tall, spoilt)[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("spoiler", SPOILERS)
@pytest.mark.parametrize(
    ("measure", "better"),
    [("psnr_db", -1), ("ssim", -1), ("ms_ssim", -1), ("gmsd", 1), ("color_difference", 1)],
)
def test_the_more_is_spoilt_the_further_it_is(spoiler: str, measure: str, better: int) -> None:
    values = [better * getattr(found, measure) for found in differences(spoiler)]
    assert all(before < after for before, after in pairwise(values))


def test_a_picture_is_no_way_from_itself() -> None:
    same = compare(CROP, CROP)
    assert same.psnr_db == math.inf
    assert (same.ssim, same.ms_ssim) == (pytest.approx(1), pytest.approx(1))
    assert (same.gmsd, same.color_difference) == (pytest.approx(0, abs=1e-6), 0)


@pytest.mark.parametrize("measure", [psnr, color_difference, lambda *two: gmsd(*map(to_luminance, two))])
def test_the_distance_is_the_same_both_ways(measure: Callable[..., float]) -> None:
    spoilt = SPOILERS["noise"][1]
    assert measure(CROP, spoilt) == pytest.approx(measure(spoilt, CROP))


def test_what_a_blind_eye_for_colour_takes_for_equal_is_not() -> None:
    assert color_difference(CROP, tinted(CROP, 0.1)) > 2.3
    grey = np.full((64, 64, 3), 100, np.uint8)
    assert color_difference(grey, grey + 1) < 1


def test_scales_need_pixels() -> None:
    small = to_luminance(CROP[:175])
    assert similarities(small, small) == (pytest.approx(1), None)
    assert similarities(small[:11, :11], small[:11, :11]) == (pytest.approx(1), None)


def test_negatives_are_as_far_as_can_be() -> None:
    turned = compare(CROP, 255 - CROP)
    assert turned.ssim < 0
    assert turned.ms_ssim == 0


@pytest.mark.parametrize("size", [(11, 11), (500, 12), (12, 500)])
def test_every_size_that_is_let_pass_is_measured(size: tuple[int, int]) -> None:
    assert refuse(size, size) is None
    two = np.random.default_rng(0).integers(0, 256, (2, *size[::-1], 3)).astype(np.uint8)
    found: Difference = compare(*two)
    assert all(math.isfinite(value) for value in astuple(found) if value is not None)


@pytest.mark.parametrize(
    ("reference", "candidate", "rule"),
    [
        ((64, 64), (64, 32), "is 64 × 32 pixels, and the reference 64 × 64 pixels"),
        ((10, 64), (10, 64), "11 pixels on each side"),
        ((4097, 4096), (4097, 4096), "16,777,216"),
    ],
)
def test_what_cannot_be_compared_is_told_why(
    reference: tuple[int, int], candidate: tuple[int, int], rule: str
) -> None:
    assert rule in (refuse(reference, candidate) or "")
