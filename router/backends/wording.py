"""Between our words and those of providers: shapes, seeds, pictures inside a request, progress. Pure."""

import base64
import math

from router.backends.protocol import Source, Step
from router.backends.provider import NotStartedError
from router.entries import BackendEntry
from router.sizes import Size
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError

SEEDS = 2**32
"""Seeds that providers tell apart; ours go further and come round again."""


def hundredths(done: int) -> Step:
    """Return how far a job is as a step, which counts from 1."""
    return Step(max(1, done), 100)


def ratio(size: Size) -> str:
    """Return a size as its shortest ratio, such as 16:9."""
    shared = math.gcd(*size)
    return f"{size.width // shared}:{size.height // shared}"


def data_uri(source: Source, most: int) -> str:
    """Return a picture as a data URI; call it off the event loop.

    Raises NotStartedError for one that becomes longer than `most` characters.
    """
    uri = f"data:{source.media_type};base64,{base64.b64encode(source.data).decode('ascii')}"
    if len(uri) > most:
        rule = f"spec.source_image: the file is too large for this model, which takes {most * 3 // 4 // 10**6} MB"
        raise NotStartedError(
            MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="spec.source_image")
        )
    return uri


def check_prompt(entry: BackendEntry, prompt: str) -> None:
    """Raise NotStartedError for a prompt that is longer than the model takes, in UTF-16 code units as Runway counts."""
    most = entry.limits.prompt
    if most is not None and len(prompt.encode("utf-16-le")) > 2 * most:
        rule = f"spec.prompt: {entry.model} takes at most {most} characters; shorten it"
        raise NotStartedError(MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field="spec.prompt"))
