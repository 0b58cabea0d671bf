"""What a picture is sealed with, and what it means that it could not be."""

import hashlib
import json
from collections.abc import Mapping

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.version import __version__
from services.runtime.errors import DEFAULT_RETRY_SECONDS, Family, MeshError

DESCRIBED = (
    "prompt",
    "enhanced_prompt",
    "negative_prompt",
    "style",
    "model",
    "seed",
    "steps",
    "guidance_scale",
    "size",
    "operations",
)
"""What of a picture's metadata is written into its file, where that is a PNG. The signed manifest has none of it."""

# What does not change a picture: one model draws the same on every backend, and at every attempt.
NOT_WORK = frozenset({"backend", "attempt", "attempts"})

# What ends the call itself is told as it is.
TOLD_AS_IT_IS = frozenset({errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_CANCELLED})


def work_of(metadata: Mapping[str, str]) -> str:
    """Return the name of the work that a picture came from, 64 characters: the same for pictures drawn alike."""
    told = {key: value for key, value in metadata.items() if key not in NOT_WORK}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def description(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the text of a picture's file. Nothing in it differs from run to run: no time, no generation id."""
    return {key: metadata[key] for key in DESCRIBED if metadata.get(key)} | {
        "software": f"visual-mesh {__version__}"
    }


def as_unsealed(error: MeshError) -> MeshError:
    """Return what a failed seal means: the picture is not delivered, and trying again may help."""
    if error.reason in TOLD_AS_IT_IS or error.family is Family.RESOURCE:
        return error
    return MeshError(
        errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
        "the picture could not be marked and signed, so it is not delivered; try again",
        retry_after=DEFAULT_RETRY_SECONDS if error.retry_after is None else error.retry_after,
    )
