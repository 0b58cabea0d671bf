"""All measurements that need nothing but the picture, in one pass."""

from services.quality.metrics import color_balance, composition, sharpness
from services.quality.metrics.brisque import Regression
from services.quality.metrics.luminance import Pixels, bring_to_size, to_luminance
from services.quality.metrics.technical import technical
from services.quality.scoring import Measured


def measure(picture: Pixels, regression: Regression) -> dict[str, Measured]:
    """Return the scores of [H, W, 3] RGB by their names in QualityMetrics; one that cannot be had is left out."""
    seen = bring_to_size(picture)
    luminance = to_luminance(seen)
    scores = {"color_balance": Measured(color_balance.color_balance(seen), color_balance.NAME)}
    sharp = sharpness.sharpness(luminance)
    if sharp is not None:
        scores["sharpness"] = Measured(sharp, sharpness.NAME)
    placed = composition.composition(seen)
    if placed is not None:
        scores["composition"] = Measured(placed, composition.NAME)
    faultless = technical(luminance, sharp, regression)
    if faultless is not None:
        scores["technical"] = Measured(*faultless)
    return scores
