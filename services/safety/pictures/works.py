"""Pictures held against the registry of protected works."""

from dataclasses import dataclass

from services.runtime.threads import in_thread
from services.safety.category import Category, Signal
from services.safety.pictures.checker import Opinion, Pixels, Shown
from services.safety.works import pdq
from services.safety.works.registry import Registry
from services.safety.works.shelf import Near, Shelf

CHECKER = "protected_works/1"
# Severities by distance in bits, of 256 (docs/05-safety.md, *Protected works*): 31 is what Meta takes for the same picture.
SEVERITIES = ((31, 6), (45, 3))
WIDEST = SEVERITIES[-1][0]


@dataclass(frozen=True)
class ProtectedWorks:
    """Tells which protected works a picture reproduces, also turned by quarters and mirrored."""

    registry: Registry
    seconds: float
    name: str = CHECKER

    async def check(self, shown: Shown) -> Opinion:
        """Return a signal for each work that is near. Raises MeshError when the registry cannot be read."""
        shelf = await self.registry.shelf()
        near = await in_thread(_near, shown.pixels, shelf) if len(shelf) else []
        return Opinion([_signal(each) for each in near], max((_risk(each) for each in near), default=0.0))


def severity(distance: int) -> int:
    """Return how grave it is that a picture comes so near to a work, 0 beyond the last step."""
    return next((grave for most, grave in SEVERITIES if distance <= most), 0)


def _near(picture: Pixels, shelf: Shelf) -> list[Near]:
    return shelf.nearest(pdq.hash_of(picture), WIDEST)


def _signal(near: Near) -> Signal:
    evidence = f"protected work {near.id}, distance {near.distance} of {pdq.BITS}"
    return Signal(Category.COPYRIGHT, severity(near.distance), CHECKER, evidence)


def _risk(near: Near) -> float:
    return 1 - near.distance / pdq.BITS
