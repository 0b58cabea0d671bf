"""Requests from Python values. What protobuf would refuse with a ValueError is a PromptError that names the field."""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypedDict

from google.protobuf.message import Message

from scrollintel.visual import wire
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.exceptions import PromptError, Violation
from scrollintel.visual.operations import Deblur, Denoise, Operation, RestoreFaces, Upscale
from scrollintel.visual.v1 import generation_pb2, media_pb2, spec_pb2

QualityTier = Literal["draft", "standard", "high"]
EnhancementLevel = Literal["none", "light", "standard", "rich"]
QualityMetric = Literal["overall", "prompt_adherence", "technical", "aesthetic"]
Objective = Literal["balanced", "quality", "latency", "cost"]

OPERATIONS = "spec.enhancement.operations"

ENUMS = {
    "quality": spec_pb2.QualityTier.DESCRIPTOR,
    "enhancement_level": spec_pb2.EnhancementLevel.DESCRIPTOR,
    "quality_metric": spec_pb2.QualityMetric.DESCRIPTOR,
    "objective": spec_pb2.Objective.DESCRIPTOR,
}


class ImageFields(TypedDict, total=False):
    """What can be asked of a picture beside its prompt; `VisualClient.generate_image` tells what each is."""

    negative_prompt: str | None
    style: str | None
    width: int | None
    height: int | None
    aspect_ratio: str | None
    num_images: int | None
    quality: QualityTier | None
    seed: int | None
    guidance_scale: float | None
    steps: int | None
    enhancement_level: EnhancementLevel | None
    source_image: Media | Asset | None
    min_quality: float | None
    max_attempts: int | None
    quality_metric: QualityMetric | None


def image_spec(**fields: Any) -> generation_pb2.GenerationSpec:
    """Return the spec for still images; a field that is None is left to its default.

    Raises:
        PromptError: a value does not fit its field's type. Declared rules are the server's to check.
    """
    image = spec_pb2.ImageSpec()
    source = fields.pop("source_image", None)
    if source is not None:
        image.source_image.CopyFrom(media_of(source).write())
    for field, value in fields.items():
        put(image, field, value, path="spec.image.")
    return generation_pb2.GenerationSpec(image=image)


def media_of(source: Media | Asset) -> Media:
    """Return where a stored picture lies, by itself or by its record."""
    return source.media if isinstance(source, Asset) else source


def enhancement_spec(
    source: media_pb2.MediaRef, operations: Sequence[Operation]
) -> generation_pb2.GenerationSpec:
    """Return the spec that does operations to stored media, one after the other.

    Raises:
        PromptError: no operation is given, an Upscale has neither or both of factor and size, or a value does not fit
            its field's type.
    """
    if not operations:
        raise broken(OPERATIONS, "repeated.min_items", "give at least one operation")
    written = [_write(operation, f"{OPERATIONS}[{i}].") for i, operation in enumerate(operations)]
    return generation_pb2.GenerationSpec(
        enhancement=spec_pb2.EnhancementSpec(source=source, operations=written)
    )


def _write(operation: Operation, path: str) -> spec_pb2.EnhancementOperation:
    match operation:
        case Upscale():
            return spec_pb2.EnhancementOperation(upscale=_upscale(operation, f"{path}upscale."))
        case RestoreFaces(fidelity):
            faces = spec_pb2.RestoreFaces()
            put(faces, "fidelity", fidelity, path=f"{path}restore_faces.")
            return spec_pb2.EnhancementOperation(restore_faces=faces)
        case Denoise():
            return spec_pb2.EnhancementOperation(denoise=spec_pb2.Denoise())
        case Deblur():
            return spec_pb2.EnhancementOperation(deblur=spec_pb2.Deblur())


def _upscale(asked: Upscale, path: str) -> spec_pb2.Upscale:
    sides = (asked.width, asked.height)
    sized = sides != (None, None)
    if sized == (asked.factor is not None) or (sized and None in sides):
        raise broken(path + "target", "oneof", "give either a factor or both width and height")
    upscale = spec_pb2.Upscale()
    put(upscale, "variant", asked.variant, path=path)
    if sized:
        put(upscale.size, "width", asked.width, path=path + "size.")
        put(upscale.size, "height", asked.height, path=path + "size.")
    else:
        put(upscale, "factor", asked.factor, path=path)
    return upscale


def put(message: Message, field: str, value: Any, *, path: str) -> None:
    """Set one field, whose message lies at `path` in the request; None leaves it out.

    Raises:
        PromptError: the value does not fit the field.
    """
    if value is None:
        return
    if field in ENUMS:
        value = enum_number(path, field, value)
    with fitting(path + field, type(getattr(message, field)).__name__, value):
        setattr(message, field, value)


@contextmanager
def fitting(path: str, kind: str, value: Any) -> Iterator[None]:
    """Set a field of a `kind` of value in the body.

    Raises:
        PromptError: the value does not fit the field at `path`.
    """
    try:
        yield
    except UnicodeEncodeError as error:
        raise broken(path, "string.utf8", "must be valid Unicode text, without lone surrogates") from error
    except ValueError as error:
        # Only an integer outside the field's width ends here.
        raise broken(path, "int.range", f"{value} does not fit the field") from error
    except TypeError as error:
        raise broken(path, "type", f"must be of type {kind}, not {type(value).__name__}") from error


def enum_number(path: str, field: str, value: Any) -> int:
    """Return the number of an enum's word.

    Raises:
        PromptError: no such word; it suggests those nearest.
    """
    allowed = wire.words(ENUMS[field])
    found = wire.number(ENUMS[field], value) if isinstance(value, str) else None
    if found is None:
        raise broken(
            path + field,
            "enum.defined_only",
            f"must be one of {', '.join(allowed)}",
            suggestions=difflib.get_close_matches(str(value), allowed),
        )
    return found


def broken(field: str, rule: str, description: str, *, suggestions: list[str] | None = None) -> PromptError:
    """Return the error for a field that breaks a rule on this side of the wire."""
    return PromptError(
        f"{field}: {description}",
        reason="FIELD_INVALID",
        code="INVALID_ARGUMENT",
        violations=[Violation(field, rule, description)],
        suggestions=suggestions or (),
    )
