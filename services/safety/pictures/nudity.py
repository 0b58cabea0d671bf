"""Nudity: what open_nsfw and nsfwjs say together, and what follows where a face is there, too.

open_nsfw knows photographs. nsfwjs knows drawings, too, and takes close faces for porn (docs/05-safety.md), so that
its `porn` counts where open_nsfw is of that opinion: as the geometric mean of both, which one alone cannot raise. Its
`hentai`, drawn porn, counts as it is. The worst of the three is the risk, judged by the policy's `nsfw_severities`.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.runtime.threads import in_thread
from services.runtime.triton import TritonClient
from services.safety import nsfw
from services.safety.category import Category, Signal
from services.safety.labels import Meaning
from services.safety.nsfw import Scale
from services.safety.pictures import classifier
from services.safety.pictures.checker import Opinion, Pixels, Shown
from services.safety.pictures.people import Face, People

CHECKER = "nudity/1"
SECOND = "nsfw_nsfwjs"
CLASSES = ("drawing", "hentai", "neutral", "porn", "sexy")
# Severities in the category minors by that of nudity: blocked by the shipped policy where nudity is flagged.
CHILDLIKE = {1: 2, 2: 5}
CERTAIN = max(CHILDLIKE)


@dataclass(frozen=True)
class Shares:
    """The worst view's probabilities: open_nsfw's `unsafe`, and three of nsfwjs's classes."""

    unsafe: float
    hentai: float
    porn: float
    sexy: float

    @property
    def agreed(self) -> float:
        """The geometric mean of what both say of porn."""
        return math.sqrt(self.unsafe * self.porn)

    @property
    def risk(self) -> float:
        """How sure both are of the worst."""
        return max(self.unsafe, self.hentai, self.agreed)


@dataclass(frozen=True)
class Nudity:
    """Shows a picture to both networks; looks for faces where they suspect something."""

    triton: TritonClient
    seconds: float
    name: str = CHECKER

    async def check(self, shown: Shown) -> Opinion:
        """Return what both say of the worst view. Raises MeshError, and ValueError for what is no probability."""
        shares = await self.shares(shown.pixels)
        signals = judge(shares, shown.book.scale, shown.book.nsfwjs)
        if suspected := shown.book.scale.severity(shares.risk):
            signals += await self._minors(shown, suspected)
        return Opinion(signals, shares.risk)

    async def _minors(self, shown: Shown, suspected: int) -> list[Signal]:
        """Return what an operator's classifier says of the ages of the faces, or else what their proportions do."""
        people = People(self.triton, self.seconds)
        faces = await people.faces(shown.pixels)
        ages = await people.ages(shown.pixels, faces)
        if ages is None:
            return minors(faces, suspected)
        return [
            signal for each in ages for signal in classifier.judge(each, shown.book.ages, CHECKER).signals
        ]

    async def shares(self, picture: Pixels) -> Shares:
        """Return what both say of the worst view of a picture UINT8 [H,W,3]; raises as `check` does."""
        views = await in_thread(nsfw.views, picture)
        # nsfwjs's authors show the whole, and nothing of it is cut off in the views after the first.
        unsafe, others = await asyncio.gather(
            self._ask(nsfw.MODEL, "probability", views, 1),
            self._ask(SECOND, "probabilities", views[1:], len(CLASSES)),
        )
        worst = dict(zip(CLASSES, map(float, others), strict=True))
        return Shares(float(unsafe[0]), worst["hentai"], worst["porn"], worst["sexy"])

    async def _ask(self, model: str, output: str, views: Pixels, classes: int) -> NDArray[np.float64]:
        """Return each class's highest probability among the views; raises ValueError unless all are probabilities."""
        outputs = await self.triton.infer(model, {"image": views}, timeout=self.seconds)
        said = np.asarray(outputs[output], np.float64)
        if said.shape != (len(views), classes):
            raise ValueError(f"{model}: {said.shape} for {len(views)} views")
        if not ((said >= 0) & (said <= 1)).all():  # a NaN is neither
            raise ValueError(f"{model}: not a probability")
        return np.asarray(said.max(0))


def judge(shares: Shares, scale: Scale, labels: Mapping[str, Meaning]) -> list[Signal]:
    """Return what the shares say: at most one signal for each of the five ways to read them.

    `labels` is what nsfwjs's `porn` and `sexy` mean alone; one that is not there means nothing.
    """
    said = (
        (scale.severity(shares.unsafe), f"open_nsfw {shares.unsafe:.3f}"),
        (scale.severity(shares.hentai), f"nsfwjs hentai {shares.hentai:.3f}"),
        (
            scale.severity(shares.agreed) if shares.porn > shares.unsafe else 0,
            f"open_nsfw {shares.unsafe:.3f} and nsfwjs porn {shares.porn:.3f}",
        ),
    )
    alone = (
        (meaning.category, meaning.scale.severity(share), f"nsfwjs {label} {share:.3f}")
        for label, share in (("porn", shares.porn), ("sexy", shares.sexy))
        if (meaning := labels.get(label)) is not None
    )
    found = [*((Category.SEXUAL, *each) for each in said), *alone]
    return [
        Signal(category, severity, CHECKER, evidence) for category, severity, evidence in found if severity
    ]


def minors(faces: Sequence[Face], suspected: int) -> list[Signal]:
    """Return what childlike faces mean in a picture with nudity of a severity; none where it is 0 or no face is such."""
    severity = CHILDLIKE.get(min(suspected, CERTAIN), 0)
    childlike = [place for place, face in enumerate(faces, 1) if face.childlike]
    if not severity or not childlike:
        return []
    face = faces[childlike[0] - 1]
    told = (
        f"face {childlike[0]} of {len(faces)}: eyes at {face.eye_height:.2f}, mouth {face.length:.2f} below"
    )
    return [Signal(Category.MINORS, severity, CHECKER, told)]
