"""Picture classifiers that operators bring, on Triton: what their labels say, and what that means to the policy."""

from collections.abc import Mapping

import numpy as np

from services.runtime.threads import in_thread
from services.runtime.triton import TritonClient
from services.safety.category import Signal
from services.safety.labels import Meaning
from services.safety.pictures.checker import Opinion, Pixels
from services.safety.pictures.reduction import reduced


async def classify(triton: TritonClient, model: str, picture: Pixels, seconds: float) -> dict[str, float]:
    """Return each label's probability for a picture UINT8 [H,W,3]; labels in lower case.

    Raises MeshError, and ValueError for an answer that is none.
    """
    given = await in_thread(reduced, picture)
    outputs = await triton.infer(model, {"image": given}, timeout=seconds)
    labels = [label.decode().casefold() for label in outputs["labels"]]
    said = np.asarray(outputs["probabilities"], np.float64)
    if said.shape != (len(labels),) or not ((said >= 0) & (said <= 1)).all():  # a NaN is neither
        raise ValueError(f"{model}: no probabilities for {len(labels)} labels")
    surest: dict[str, float] = {}
    for label, probability in zip(labels, said.tolist(), strict=True):  # one may have a label twice
        surest[label] = max(probability, surest.get(label, 0.0))
    return surest


def judge(said: Mapping[str, float], meanings: Mapping[str, Meaning], checker: str) -> Opinion:
    """Return what labels with probabilities mean; the risk is the highest of those that the policy knows.

    Raises ValueError where it knows none: a classifier that can say nothing would pass everything.
    """
    known = [
        (label, probability, meanings[label]) for label, probability in said.items() if label in meanings
    ]
    if not known:
        raise ValueError("the policy has none of the classifier's labels")
    graded = [
        Signal(meaning.category, meaning.scale.severity(probability), checker, f"{label} {probability:.3f}")
        for label, probability, meaning in known
    ]
    return Opinion(
        [signal for signal in graded if signal.severity], max(probability for _, probability, _ in known)
    )
