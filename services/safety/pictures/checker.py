"""What one checker of pictures is shown, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.safety.category import Signal
from services.safety.policybook import PolicyBook, TenantPolicy

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """A picture and whose policy it is judged by; `pixels` is UINT8 [H,W,3], RGB, and nobody writes to it."""

    pixels: Pixels
    tenant: str
    book: PolicyBook

    @property
    def held(self) -> TenantPolicy:
        """What holds for the tenant."""
        return self.book.of(self.tenant)


@dataclass(frozen=True)
class Opinion:
    """What a checker saw. `risk`, in [0, 1], is how sure it is of the worst that it looks for."""

    signals: Sequence[Signal] = ()
    risk: float = 0.0


@dataclass(frozen=True)
class NeedsWeights:
    """Says that nothing was looked for, because the mesh has no weights for it.

    It is a fact of the installation. A model that is there and does not answer is a failure, which a checker raises.
    """


class PictureChecker(Protocol):
    """Looks for one kind of thing. Whatever it raises means that the picture was not checked.

    It may be cancelled at any await; blocking work goes through `services.runtime.threads.in_thread`, so that the picture's
    turn is held until its threads have ended.
    """

    @property
    def name(self) -> str:
        """Name and version, such as `nudity/1`."""
        ...

    @property
    def seconds(self) -> float:
        """How long it may take for one picture."""
        ...

    async def check(self, shown: Shown) -> Opinion | NeedsWeights:
        """Look at a picture."""
        ...
