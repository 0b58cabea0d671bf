"""All measurements that need nothing but the picture, in parts that may run side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from services.quality.metrics import artifacts, banding, color_balance, composition, exposure, niqe, sharpness
from services.quality.metrics.brisque import Regression
from services.quality.metrics.luminance import Floats, Pixels, bring_to_size, to_luminance
from services.quality.metrics.niqe import Pristine
from services.quality.metrics.technical import Freedom, drawn_share, technical
from services.quality.scoring import Measured

Scores: TypeAlias = dict[str, Measured]


@dataclass(frozen=True)
class Learnt:
    """What was learnt from photographs by those who published the measures."""

    regression: Regression
    pristine: Pristine

    @classmethod
    def load(cls) -> "Learnt":
        """Read the files that come with the metrics."""
        return cls(Regression.load(), Pristine.load())


@dataclass(frozen=True)
class View:
    """A picture as it is measured."""

    picture: Pixels
    """[H, W, 3] RGB, 1024 pixels on the longer side at most."""
    luminance: Floats
    noise: float
    """Deviation in levels of 255."""
    drawn: float
    """0 for a photograph, 1 for a drawing, between them for what may be either."""


def look(picture: Pixels) -> View:
    """Return what every part of the measurement of [H, W, 3] RGB begins with."""
    seen = bring_to_size(picture)
    luminance = to_luminance(seen)
    noise = artifacts.noise_deviation(luminance)
    return View(seen, luminance, noise, drawn_share(luminance, noise))


def measure_faults(view: View, learnt: Learnt) -> Scores:
    """Measure each technical fault, and what they come to."""
    luminance = view.luminance
    sharp = sharpness.sharpness(luminance)
    freedom = Freedom(
        noise=artifacts.noise(view.noise),
        blockiness=artifacts.blockiness(luminance),
        banding=banding.banding(luminance),
        exposure=exposure.exposure(luminance, view.drawn),
        sharpness=sharp,
    )
    scores = {
        "noise": Measured(freedom.noise, artifacts.NOISE_NAME),
        "blockiness": Measured(freedom.blockiness, artifacts.BLOCKS_NAME),
        "banding": Measured(freedom.banding, banding.NAME),
        "exposure": Measured(freedom.exposure, exposure.NAME),
    }
    if sharp is not None:
        scores["sharpness"] = Measured(sharp, sharpness.NAME)
    faultless = technical(luminance, view.drawn, freedom, learnt.regression)
    if faultless is not None:
        scores["technical"] = Measured(*faultless)
    return scores


def measure_nature(view: View, learnt: Learnt) -> Scores:
    """Measure how natural a photograph is; nothing of a drawing, which is not."""
    found = None if view.drawn >= 1 else niqe.naturalness(view.luminance, learnt.pristine)
    return {} if found is None else {"naturalness": Measured(found, niqe.NAME)}


def measure_layout(view: View, _: Learnt) -> Scores:
    """Measure where colours and subject lie."""
    scores = {"color_balance": Measured(color_balance.color_balance(view.picture), color_balance.NAME)}
    placed = composition.composition(view.picture)
    if placed is not None:
        scores["composition"] = Measured(placed, composition.NAME)
    return scores


PARTS: tuple[Callable[[View, Learnt], Scores], ...] = (measure_faults, measure_nature, measure_layout)
"""Each takes a view and returns scores in [0, 1] by their names in QualityMetrics; what cannot be had is left out.

The longest comes first, so that two threads end at about one time.
"""


def measure(picture: Pixels, learnt: Learnt) -> Scores:
    """Return the scores of [H, W, 3] RGB, one part after the other."""
    view = look(picture)
    return {name: score for part in PARTS for name, score in part(view, learnt).items()}
