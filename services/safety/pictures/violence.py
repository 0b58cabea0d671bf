"""Violence in a picture, where an operator has brought a classifier of it; the mesh itself has none."""

from dataclasses import dataclass

from services.runtime.triton import TritonClient
from services.safety.pictures.checker import NeedsWeights, Opinion, Shown
from services.safety.pictures.classifier import classify, judge

MODEL = "violence_classifier"
CHECKER = "violence/1"


@dataclass(frozen=True)
class Violence:
    """Shows a picture to the classifier, and looks its labels up in the policy."""

    triton: TritonClient
    seconds: float
    model: str = MODEL
    name: str = CHECKER

    async def check(self, shown: Shown) -> Opinion | NeedsWeights:
        """Return what the labels say, NeedsWeights where no classifier was built.

        Raises MeshError, and ValueError for an answer that is none and for labels of which the policy knows not one.
        """
        if self.model not in await self.triton.index(self.seconds):
            return NeedsWeights()
        said = await classify(self.triton, self.model, shown.pixels, self.seconds)
        return judge(said, shown.book.violence, CHECKER)
