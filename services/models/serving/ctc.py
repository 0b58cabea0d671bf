"""Characters out of the steps of a network that was trained with connectionist temporal classification.

At each step the network names one character or none (Graves and others, 2006). Taken greedily: a character that goes on
over several steps is one, and twice the same needs a step of none between.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NONE = 0  # the column that stands for no character


def decode(steps: NDArray[np.float32], characters: Sequence[str]) -> tuple[str, float]:
    """Return the text in probabilities [T,C] and the mean probability of its characters, 0 for an empty text.

    `characters` are those of the columns from 1 on. Raises ValueError for what is no number: it would read as no text.
    """
    if not np.isfinite(steps).all():
        raise ValueError("the network's answer is not finite")
    named, sure = steps.argmax(axis=1), steps.max(axis=1)
    begins = named != NONE
    begins[1:] &= named[1:] != named[:-1]
    text = "".join(characters[index - 1] for index in named[begins])
    return text, float(sure[begins].mean()) if text else 0.0
