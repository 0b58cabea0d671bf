"""Judges the picture that a generation is to change, before anything is drawn from it."""

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.orchestrator import verdicts
from services.orchestrator.steps import Steps
from services.runtime.errors import MeshError

FIELD = "spec.image.source_image"
WHAT = "the source picture"

# What is wrong with the reference itself, and so the caller's to mend.
FAULTS = {
    errors_pb2.ERROR_REASON_NOT_FOUND: "refers to no stored media; upload the picture first",
    errors_pb2.ERROR_REASON_MEDIA_INVALID: "must refer to a PNG, JPEG or WebP picture that decodes",
    errors_pb2.ERROR_REASON_FIELD_INVALID: "must be a reference as an upload returns it",
}


async def require_safe(media: MediaRef, steps: Steps) -> None:
    """Return when a source picture passes the safety check.

    Raises MeshError FIELD_INVALID or MEDIA_INVALID, which name the field, when there is no such picture, PROMPT_UNSAFE
    when the policy refuses it, and SAFETY_UNCHECKED when it could not be judged.
    """
    try:
        checked = await steps.check_image(media)
    except MeshError as error:
        if error.reason not in FAULTS:
            raise verdicts.as_unchecked(error, WHAT) from error
        invalid, missing = errors_pb2.ERROR_REASON_FIELD_INVALID, errors_pb2.ERROR_REASON_NOT_FOUND
        reason = invalid if error.reason == missing else error.reason
        raise MeshError(reason, f"{FIELD}: {FAULTS[error.reason]}", field=FIELD) from error
    verdicts.require_pass(checked.verdict, errors_pb2.ERROR_REASON_PROMPT_UNSAFE, WHAT)
