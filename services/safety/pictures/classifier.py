"""Picture classifiers that operators bring, on Triton: what their labels say, and what that means to the policy."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from services.runtime.threads import in_thread
from services.runtime.triton import TritonClient
from services.safety.category import Signal
from services.safety.labels import Meaning
from services.safety.pictures.checker import Opinion, Pixels
from services.safety.pictures.reduction import reduced

WHOLE = 1e-3  # by how much the sum of exclusive probabilities may differ from 1
MOST_TOLD = 3  # labels in one finding


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
    known = [label for label in said if label in meanings]
    if not known:
        raise ValueError("the policy has none of the classifier's labels")
    found = [
        (meanings[labels[0]], min(1.0, sum(said[label] for label in labels)), labels)
        for labels in _together(known, meanings, exclusive=abs(sum(said.values()) - 1) < WHOLE)
    ]
    graded = [
        Signal(meaning.category, meaning.scale.severity(probability), checker, _told(said, labels))
        for meaning, probability, labels in found
    ]
    return Opinion(
        [signal for signal in graded if signal.severity], max(probability for _, probability, _ in found)
    )


def _together(
    labels: Sequence[str], meanings: Mapping[str, Meaning], *, exclusive: bool
) -> Iterable[Sequence[str]]:
    """Group labels that mean the same, where one alone can hold: of a child 0.4 may be 3 to 9 years, and 0.4 more."""
    if not exclusive:
        return [[label] for label in labels]
    groups: dict[Meaning, list[str]] = {}
    for label in labels:
        groups.setdefault(meanings[label], []).append(label)
    return groups.values()


def _told(said: Mapping[str, float], labels: Sequence[str]) -> str:
    surest = sorted(labels, key=lambda label: -said[label])[:MOST_TOLD]
    return ", ".join(f"{label} {said[label]:.3f}" for label in surest)
