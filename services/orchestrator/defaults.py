"""Fills in what a spec leaves open, in one place, and names specs and requests by their digests."""

import hashlib
import secrets
from collections.abc import Callable
from typing import TypeVar

from scrollintel.visual.v1 import spec_pb2
from scrollintel.visual.v1.generation_pb2 import CompareModelsRequest, GenerateRequest, GenerationSpec
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator.sizes import target_size

Request = TypeVar("Request", GenerateRequest, CompareModelsRequest)

NOT_WORK = frozenset({"request_id", "previews"})  # fields of a request that do not change what is made
SEED_LIMIT = 2**32  # drawn seeds stay short enough to be read out and typed in again
ATTEMPTS = 3  # of a picture that is held against `min_quality`


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
    if image.HasField("min_quality"):
        _fill_goal(image)


def _fill_goal(image: ImageSpec) -> None:
    if not image.HasField("max_attempts"):
        image.max_attempts = ATTEMPTS
    if not image.HasField("quality_metric"):
        image.quality_metric = spec_pb2.QUALITY_METRIC_OVERALL


def provenance(filled: GenerationSpec) -> str:
    """Return the SHA-256 of a filled spec, lower-case hex."""
    return hashlib.sha256(filled.SerializeToString(deterministic=True)).hexdigest()


def fingerprint(request: Request) -> str:
    """Return what makes two requests the same work: the digest of all that was given but the name and the previews."""
    same = type(request)()
    same.CopyFrom(request)
    for field in NOT_WORK.intersection(same.DESCRIPTOR.fields_by_name):
        same.ClearField(field)  # type: ignore[arg-type]
    kind = same.DESCRIPTOR.name.encode()
    return hashlib.sha256(kind + same.SerializeToString(deterministic=True)).hexdigest()


def work_name(tenant: str, request_id: str, fingerprint: str) -> str:
    """Return a name, 64 characters, that a client's request keeps however often it is sent, and no other one has."""
    return hashlib.sha256("\0".join((tenant, request_id, fingerprint)).encode()).hexdigest()


def attempt_name(work: str, index: int, attempt: int) -> str:
    """Return the name, 64 characters, of one more drawing of a picture: the same whenever the work is done again."""
    return hashlib.sha256("\0".join((work, str(index), str(attempt))).encode()).hexdigest()


def attempt_seed(first: int, attempt: int) -> int:
    """Return the seed of an attempt, from 2, at a picture that was first drawn from `first`."""
    return seed_of(f"{first}/{attempt}")


def seed_of(name: str) -> int:
    """Return the seed of a named work: one that is repeated shall be the same to the pixel, wherever it is repeated."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % SEED_LIMIT
