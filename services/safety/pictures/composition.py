"""Who sits on the panel, in the order in which verdicts name them."""

from dataclasses import dataclass

import numpy as np

from services.runtime.threads import in_thread
from services.runtime.triton import TritonClient
from services.safety import nsfw
from services.safety.pictures.checker import Opinion, PictureChecker, Shown
from services.safety.rules import RuleSet
from services.safety.settings import Settings


@dataclass(frozen=True)
class OpenNsfw:
    """Looks for nudity in several views of a picture; the worst counts."""

    triton: TritonClient
    seconds: float
    name: str = nsfw.CHECKER

    async def check(self, shown: Shown) -> Opinion:
        """Return the worst view's probability; raises ValueError unless there is one for each view."""
        views = await in_thread(nsfw.views, shown.pixels)
        outputs = await self.triton.infer(nsfw.MODEL, {"image": views}, timeout=self.seconds)
        probabilities = np.asarray(outputs["probability"], dtype=np.float64).reshape(-1)
        if len(probabilities) != len(views):
            raise ValueError(f"{len(probabilities)} answers for {len(views)} views")
        worst = float(probabilities.max())  # a NaN stays one, and the scale refuses it
        return Opinion(shown.book.scale.signals(worst), worst)


def checkers(triton: TritonClient, rules: RuleSet, settings: Settings) -> list[PictureChecker]:
    """Return all checkers of pictures; each that is added here is asked about every picture and every frame shown."""
    return [OpenNsfw(triton, settings.nsfw_seconds)]
