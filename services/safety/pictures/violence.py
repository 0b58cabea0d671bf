"""Violence in a picture, where an operator has brought a classifier of it; the mesh itself has none."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.runtime.triton import TritonClient
from services.safety.category import Signal
from services.safety.labels import Meaning
from services.safety.pictures.checker import NeedsWeights, Opinion, Shown

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

        Raises MeshError, and ValueError for an answer that is none and for labels of which the policy knows not one:
        a classifier that can say nothing would pass everything.
        """
        if self.model not in await self.triton.index():
            return NeedsWeights()
        outputs = await self.triton.infer(self.model, {"image": shown.pixels}, timeout=self.seconds)
        labels = [label.decode() for label in outputs["labels"]]
        said = np.asarray(outputs["probabilities"], np.float64)
        if said.shape != (len(labels),) or not ((said >= 0) & (said <= 1)).all():  # a NaN is neither
            raise ValueError(f"{self.model}: no probabilities for {len(labels)} labels")
        return judge(dict(zip(labels, said.tolist(), strict=True)), shown.book.violence)


def judge(said: Mapping[str, float], meanings: Mapping[str, Meaning]) -> Opinion:
    """Return what labels with probabilities mean; the risk is the highest of those that the policy knows."""
    known = [
        (label, probability, meanings[label.casefold()])
        for label, probability in said.items()
        if label.casefold() in meanings
    ]
    if not known:
        raise ValueError("the policy's violence_labels has none of the classifier's labels")
    graded = [
        Signal(
            meaning.category,
            meaning.scale.severity(probability),
            CHECKER,
            f"{label.casefold()} {probability:.3f}",
        )
        for label, probability, meaning in known
    ]
    return Opinion([signal for signal in graded if signal.severity], max(share for _, share, _ in known))
