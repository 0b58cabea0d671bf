"""Pictures held against the registry of protected works."""

from dataclasses import dataclass

from services.runtime.threads import in_thread
from services.safety.category import WORST, Category, Signal
from services.safety.pictures.checker import Opinion, Pixels, Shown
from services.safety.works import pdq
from services.safety.works.embedding import Embedder
from services.safety.works.registry import Registry
from services.safety.works.shelf import Near, Shelf

CHECKER = "protected_works/1"
# Severities by distance in bits, of 256 (docs/05-safety.md, *Protected works*): 31 is what Meta takes for the same picture.
SEVERITIES = ((31, 6), (45, 3))
ALONE = SEVERITIES[-1][0]  # how far the hash is believed by itself
DOUBTFUL, ALIKE, DOUBTFUL_SEVERITY = 90, 0.9, 3  # and how far where the embeddings' cosine is so high
MOST_TOLD = 8  # works in one verdict


@dataclass(frozen=True)
class ProtectedWorks:
    """Tells which protected works a picture reproduces, also turned by quarters, mirrored, or a little cut."""

    registry: Registry
    embedder: Embedder
    seconds: float
    name: str = CHECKER

    async def check(self, shown: Shown) -> Opinion:
        """Return a signal for each work that is near.

        Raises MeshError when the registry cannot be read, or the matcher does not answer where the hash is in doubt.
        """
        shelf = await self.registry.shelf()
        near = await in_thread(_near, shown.pixels, shelf) if len(shelf) else []
        signals = [_signal(each, severity(each.distance)) for each in near if each.distance <= ALONE]
        doubtful = [each for each in near if each.distance > ALONE]
        if doubtful:
            seen = await self.embedder.embed(shown.pixels)
            for each in doubtful:
                likeness = shelf.likeness(each, seen)
                if likeness >= ALIKE:
                    signals.append(_signal(each, DOUBTFUL_SEVERITY, f", likeness {likeness:.2f}"))
        told = signals[:MOST_TOLD]
        return Opinion(told, max((signal.severity / WORST for signal in told), default=0.0))


def severity(distance: int) -> int:
    """Return how grave it is that a picture's hash comes so near to a work's, 0 beyond the last step."""
    return next((grave for most, grave in SEVERITIES if distance <= most), 0)


def _near(picture: Pixels, shelf: Shelf) -> list[Near]:
    return shelf.nearest(pdq.hash_of(picture), DOUBTFUL)


def _signal(near: Near, grave: int, besides: str = "") -> Signal:
    evidence = f"protected work {near.id}, distance {near.distance} of {pdq.BITS}{besides}"
    return Signal(Category.COPYRIGHT, grave, CHECKER, evidence)
