"""BRISQUE against what is known of it."""

import numpy as np
import pytest

from services.quality.metrics.brisque import Regression, brisque, features, fit_aggd, normalised
from services.quality.metrics.luminance import to_luminance
from tests.unit.quality.pictures import blurred, noisy, photograph


@pytest.fixture(scope="module")
def regression() -> Regression:
    return Regression.load()


@pytest.mark.parametrize(("shape", "left", "right"), [(2.0, 1.0, 1.0), (1.0, 1.0, 1.0), (2.0, 2.0, 0.5)])
def test_the_fit_recovers_known_distributions(shape: float, left: float, right: float) -> None:
    rng = np.random.default_rng(0)
    magnitude = np.abs(
        rng.normal(size=400_000) if shape == 2 else rng.laplace(scale=1 / np.sqrt(2), size=400_000)
    )
    side = rng.random(magnitude.size) < left / (left + right)
    values = np.where(side, -left * magnitude, right * magnitude).astype(np.float32)
    found, _, left_variance, right_variance = fit_aggd(values)
    assert found == pytest.approx(shape, rel=0.05)
    assert left_variance == pytest.approx(left**2, rel=0.05)
    assert right_variance == pytest.approx(right**2, rel=0.05)


def test_normalised_noise_has_the_statistics_of_noise() -> None:
    # Ruderman: normalised coefficients are close to unit normal; the local window takes a little of the variance.
    noise = noisy(np.full((512, 512, 3), 128, np.uint8), 25)[..., 0].astype(np.float32)
    shape, _, left, right = fit_aggd(normalised(noise))
    assert shape > 2
    assert left == pytest.approx(right, rel=0.05)


def test_there_are_36_finite_features() -> None:
    found = features(to_luminance(photograph("astronaut")))
    assert found.shape == (36,)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_scores_lie_where_the_published_model_puts_them(name: str, regression: Regression) -> None:
    # The `brisque` 0.2.0 package, with the same weights and a cruder resampling, gave 3 to 11 for these photographs,
    # 47 to 65 with noise of 25 levels and 76 to 84 with a blur of 3 pixels.
    picture = photograph(name)
    assert brisque(to_luminance(picture), regression) < 20
    assert 45 < brisque(to_luminance(noisy(picture, 25)), regression) < 95
    assert 65 < brisque(to_luminance(blurred(picture, 3)), regression) < 110


def test_too_few_pixels_are_refused(regression: Regression) -> None:
    with pytest.raises(ValueError, match="14 pixels"):
        brisque(np.zeros((13, 100), np.float32), regression)
