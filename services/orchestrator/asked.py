"""Makes of what a caller asked the generations that are to run; what cannot run is refused here, before any starts."""

from collections.abc import Iterator

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.generation_pb2 import (
    CompareModelsRequest,
    EstimateGenerationRequest,
    GenerateRequest,
    GenerationSpec,
)
from scrollintel.visual.v1.spec_pb2 import ImageSpec
from services.orchestrator import defaults, store
from services.orchestrator.pipeline import PIPELINES, Work
from services.orchestrator.sizes import SizeError
from services.orchestrator.store import Generation
from services.runtime.errors import MeshError

COMPARED = "image"  # the kind of spec that models are compared by
ESTIMATED = "image"  # and the kind that is estimated
PREFERENCE = "spec.image.model_preference"


def generation(tenant: str, request: GenerateRequest, fingerprint: str) -> Generation:
    """Return a new generation that does what the request asks.

    Raises MeshError UNIMPLEMENTED for a kind of spec that is not served, and FIELD_INVALID for a shape that cannot be.
    """
    kind = request.spec.WhichOneof("spec")
    if kind not in PIPELINES:
        raise _not_served(f"spec.{kind}")
    own = store.new_id()
    name = defaults.work_name(tenant, request.request_id, fingerprint) if request.request_id else ""
    work = Work(
        id=own,
        spec=_filled(request.spec, name),
        objective=request.objective if request.HasField("objective") else None,
        previews=request.previews,
        request_id=name or own,
        max_cost_usd=request.max_cost_usd if request.HasField("max_cost_usd") else None,
        user=request.user,
    )
    return Generation(work, tenant, request.request_id, fingerprint)


def estimated(request: EstimateGenerationRequest) -> ImageSpec:
    """Return the image that a request is about, its defaults filled in.

    Raises MeshError UNIMPLEMENTED for any other kind of spec, and FIELD_INVALID for a shape that cannot be.
    """
    kind = request.spec.WhichOneof("spec")
    if kind != ESTIMATED:
        raise _not_served(f"spec.{kind}")
    return _filled(request.spec, "").image


def compared(tenant: str, request: CompareModelsRequest) -> Iterator[tuple[str, GenerateRequest]]:
    """Yield each model's name with what is asked of it: the same spec and seed, and the model as its preference.

    The first one bears the comparison's own name, so that a name used for a generation is not taken for a comparison,
    nor the other way round; the others add their number behind a character that no client may use.
    Raises MeshError UNIMPLEMENTED for any other kind of spec, and FIELD_INVALID where the spec names a model itself.
    """
    kind = request.spec.WhichOneof("spec")
    if kind != COMPARED:
        raise _not_served(f"spec.{kind}")
    if request.spec.image.model_preference:
        rule = f"{PREFERENCE} must be left out: `models` names those that draw"
        raise MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, rule, field=PREFERENCE)
    seed = _common_seed(tenant, request)
    for number, model in enumerate(request.models):
        spec = GenerationSpec()
        spec.CopyFrom(request.spec)
        spec.image.seed, spec.image.model_preference = seed, model
        name = f"{request.request_id}/{number}" if request.request_id and number else request.request_id
        limit = request.max_cost_usd if request.HasField("max_cost_usd") else None
        yield model, GenerateRequest(request_id=name, spec=spec, max_cost_usd=limit)


def _common_seed(tenant: str, request: CompareModelsRequest) -> int:
    if request.spec.image.HasField("seed"):
        return request.spec.image.seed
    if not request.request_id:
        return defaults.draw_seed()
    return defaults.seed_of(defaults.work_name(tenant, request.request_id, defaults.fingerprint(request)))


def _filled(spec: GenerationSpec, name: str) -> GenerationSpec:
    try:
        return defaults.fill(spec, lambda: defaults.seed_of(name)) if name else defaults.fill(spec)
    except SizeError as error:
        field = f"spec.image.{error.field}"
        raise MeshError(
            errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {error.rule}", field=field
        ) from None


def _not_served(field: str) -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_UNIMPLEMENTED, f"{field} is not served by this version", field=field
    )
