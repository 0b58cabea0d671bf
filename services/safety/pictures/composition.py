"""Who sits on the panel, in the order in which verdicts name them."""

from services.runtime.triton import TritonClient
from services.safety.pictures.checker import PictureChecker
from services.safety.pictures.nudity import Nudity
from services.safety.pictures.violence import Violence
from services.safety.pictures.works import ProtectedWorks
from services.safety.pictures.writing import Writing
from services.safety.rules import RuleSet
from services.safety.settings import Settings
from services.safety.works.embedding import Embedder
from services.safety.works.registry import Registry


def checkers(
    triton: TritonClient, rules: RuleSet, registry: Registry, embedder: Embedder, settings: Settings
) -> list[PictureChecker]:
    """Return all checkers of pictures; each that is added here is asked about every picture and every frame shown."""
    return [
        Nudity(triton, settings.nsfw_seconds),
        Violence(triton, settings.violence_seconds),
        Writing(triton, rules, settings.writing_seconds),
        ProtectedWorks(registry, embedder, settings.works_seconds),
    ]
