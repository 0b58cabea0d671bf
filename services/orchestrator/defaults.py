"""Fills in what a spec leaves open, in one place, and names a spec by its digest."""

import hashlib
import secrets
from collections.abc import Callable

from scrollintel.visual.v1 import spec_pb2
from scrollintel.visual.v1.generation_pb2 import GenerateRequest, GenerationSpec
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator.sizes import target_size

SEED_LIMIT = 2**32  # drawn seeds stay short enough to be read out and typed in again


def draw_seed() -> int:
    """Return a seed that nobody could foresee."""
    return secrets.randbelow(SEED_LIMIT)


def fill(spec: GenerationSpec, seed: Callable[[], int] = draw_seed) -> GenerationSpec:
    """Return a copy of the spec with every default that does not depend on the model.

    `steps` and `guidance_scale` stay open where the caller left them: they are the model's own, and which model draws
    is the router's to decide. Raises SizeError (see `target_size`).
    """
    filled = GenerationSpec()
    filled.CopyFrom(spec)
    if spec.WhichOneof("spec") == "image":
        _fill_image(filled.image, seed)
    return filled


def _fill_image(image: ImageSpec, seed: Callable[[], int]) -> None:
    size = target_size(
        image.width if image.HasField("width") else None,
        image.height if image.HasField("height") else None,
        image.aspect_ratio,
    )
    image.width, image.height = size.width, size.height
    image.ClearField("aspect_ratio")  # it has said what it had to say; width and height exclude it
    if not image.HasField("num_images"):
        image.num_images = 1
    if not image.HasField("quality"):
        image.quality = spec_pb2.QUALITY_TIER_STANDARD
    if not image.HasField("seed"):
        image.seed = seed()
    if not image.HasField("enhancement_level"):
        image.enhancement_level = spec_pb2.ENHANCEMENT_LEVEL_STANDARD


def provenance(filled: GenerationSpec) -> str:
    """Return the SHA-256 of a filled spec, lower-case hex."""
    return hashlib.sha256(filled.SerializeToString(deterministic=True)).hexdigest()


def fingerprint(request: GenerateRequest) -> str:
    """Return what makes two requests the same work: the digest of spec and objective as they were given."""
    same = GenerateRequest(spec=request.spec)
    if request.HasField("objective"):
        same.objective = request.objective
    return hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()
