"""All measurements that need nothing but the picture, in parts that may run side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from services.quality.metrics import (
    artifacts,
    attention,
    banding,
    color_balance,
    composition,
    exposure,
    niqe,
    sharpness,
)
from services.quality.metrics.brisque import Regression
from services.quality.metrics.luminance import LONGEST_SIDE, Floats, Pixels, bring_to_size, to_luminance
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


def look(picture: Pixels, longest_side: int = LONGEST_SIDE) -> View:
    """Return what every part of the measurement of [H, W, 3] RGB begins with."""
    seen = bring_to_size(picture, longest_side)
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
    placed = compose(view)
    if placed is not None:
        scores["composition"] = placed
    return scores


def compose(view: View) -> Measured | None:
    """Judge a photograph's composition by what draws the eye, a drawing's by what differs from its ground.

    Of what may be either both are taken in proportion; where one finds nothing, the other alone counts.
    """
    judges = (
        (1 - view.drawn, attention.attention, attention.NAME),
        (view.drawn, composition.composition, composition.NAME),
    )
    found = [(weight, judge(view.picture), name) for weight, judge, name in judges if weight > 0]
    known = [(weight, value, name) for weight, value, name in found if value is not None]
    if not known:
        return None
    total = sum(weight for weight, _, _ in known)
    value = sum(weight * value for weight, value, _ in known) / total
    return Measured(value, "+".join(name for _, _, name in known))


PARTS: tuple[Callable[[View, Learnt], Scores], ...] = (measure_faults, measure_nature, measure_layout)
"""Each takes a view and returns scores in [0, 1] by their names in QualityMetrics; what cannot be had is left out.

The longest comes first, so that two threads end at about one time.
"""


def measure(picture: Pixels, learnt: Learnt) -> Scores:
    """Return the scores of [H, W, 3] RGB, one part after the other."""
    view = look(picture)
    return {name: score for part in PARTS for name, score in part(view, learnt).items()}
