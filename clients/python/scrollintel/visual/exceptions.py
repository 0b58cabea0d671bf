"""What can go wrong with a call, as exceptions.

    VisualMeshError
    ├── PromptError               a field breaks its rule, a style or model is unknown: change the request
    │   └── MediaError            given media does not decode or is of a kind not accepted
    ├── ModelError                a model cannot answer: wait `retry_after` or take an `alternative_models`
    ├── ResourceError             the mesh is full or out of memory: wait `retry_after`
    ├── SafetyError               the policy refused the prompt or the picture: see `findings`
    ├── NotFoundError             the named thing does not exist
    ├── RequestIdReusedError      the request_id was used for a different request
    ├── NotServedError            the rpc is part of the contract and not served yet
    ├── DeadlineExceededError     the timeout passed before the work was done
    ├── GenerationCancelledError  the generation was cancelled
    ├── MeshUnavailableError      no server answers at the address, or one behind it does not
    └── InternalError             a fault of the mesh; the message names a trace id

Every one carries the same attributes; those that say nothing about the failure are empty or None.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2

from scrollintel.visual import wire
from scrollintel.visual.safety import SafetyFinding
from scrollintel.visual.v1 import errors_pb2 as pb

DOMAIN = "visual.scrollintel"
STATUS_METADATA = "grpc-status-details-bin"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule of a request."""

    field: str
    """Path of the field in the request, such as `spec.image.width`; empty for a rule of the whole request."""
    rule: str
    """Name of the rule, such as `int32.lte`; empty when the server named none."""
    description: str
    """The rule in words."""


class VisualMeshError(Exception):
    """A call to the mesh that failed.

    Attributes:
        reason: name from the contract's ErrorReason, such as `STYLE_UNKNOWN`; empty when the server gave none.
        message: what happened, in words made to be shown.
        code: name of the gRPC code, such as `INVALID_ARGUMENT`.
        field: path of the field that broke its rule, such as `spec.image.width`; empty when none did.
        violations: every broken rule.
        suggestions: values or wordings that would be accepted, best first.
        retry_after: seconds before the same request has a chance; None when waiting will not help.
        alternative_models: models that could serve the request now.
        estimated_wait: seconds that the request would have waited for its turn.
        queue_position: position it would have had, from 1; 0 when unknown.
        findings: what the safety policy found, worst first.
        policy_link: where the policy can be read.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: str = "UNKNOWN",
        field: str = "",
        violations: Sequence[Violation] = (),
        suggestions: Sequence[str] = (),
        retry_after: float | None = None,
        alternative_models: Sequence[str] = (),
        estimated_wait: float | None = None,
        queue_position: int = 0,
        findings: Sequence[SafetyFinding] = (),
        policy_link: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.violations = tuple(violations)
        self.field = field or (self.violations[0].field if self.violations else "")
        self.suggestions = tuple(suggestions)
        self.retry_after = retry_after
        self.alternative_models = tuple(alternative_models)
        self.estimated_wait = estimated_wait
        self.queue_position = queue_position
        self.findings = tuple(findings)
        self.policy_link = policy_link

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the attributes when the exception crosses a process boundary."""
        return (type(self), (self.message,), self.__dict__)


class PromptError(VisualMeshError):
    """The request breaks a rule; change it before sending it again."""


class MediaError(PromptError):
    """Media does not decode, is of a kind not accepted, or does not match its digest."""


class ModelError(VisualMeshError):
    """A model cannot answer; see `retry_after` and `alternative_models`."""


class ResourceError(VisualMeshError):
    """The mesh is full, out of memory, or the quota is used up; see `retry_after`."""


class SafetyError(VisualMeshError):
    """The safety policy refused the prompt or the picture; see `findings`."""


class NotFoundError(VisualMeshError):
    """The named thing does not exist."""


class RequestIdReusedError(VisualMeshError):
    """The request_id was used for a different request."""


class NotServedError(VisualMeshError):
    """The rpc is part of the contract and not served by this version."""


class DeadlineExceededError(VisualMeshError):
    """The timeout passed before the work was done; the work was stopped."""


class GenerationCancelledError(VisualMeshError):
    """The generation was cancelled."""


class MeshUnavailableError(VisualMeshError):
    """No server answers at the address, or a server behind it does not."""


class InternalError(VisualMeshError):
    """A fault of the mesh itself; the message names a trace id."""


BY_REASON: dict[str, type[VisualMeshError]] = {
    "FIELD_INVALID": PromptError,
    "STYLE_UNKNOWN": PromptError,
    "MODEL_UNKNOWN": PromptError,
    "MEDIA_INVALID": MediaError,
    "MODEL_UNAVAILABLE": ModelError,
    "MODEL_FAILED": ModelError,
    "MODEL_NEEDS_WEIGHTS": ModelError,
    "NO_BACKEND": ModelError,
    "OUTCOME_UNKNOWN": ModelError,
    "OVERLOADED": ResourceError,
    "OUT_OF_MEMORY": ResourceError,
    "QUOTA_EXHAUSTED": ResourceError,
    "PROMPT_UNSAFE": SafetyError,
    "OUTPUT_UNSAFE": SafetyError,
    "SAFETY_UNCHECKED": SafetyError,
    "NOT_FOUND": NotFoundError,
    "REQUEST_ID_REUSED": RequestIdReusedError,
    "UNIMPLEMENTED": NotServedError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "CANCELLED": GenerationCancelledError,
    "DEPENDENCY_UNAVAILABLE": MeshUnavailableError,
    "INTERNAL": InternalError,
}

# For a status without a reason of ours: gRPC's own (no connection, deadline) or a proxy's.
BY_CODE: dict[str, type[VisualMeshError]] = {
    "INVALID_ARGUMENT": PromptError,
    "OUT_OF_RANGE": PromptError,
    "RESOURCE_EXHAUSTED": ResourceError,
    "FAILED_PRECONDITION": SafetyError,
    "NOT_FOUND": NotFoundError,
    "ALREADY_EXISTS": RequestIdReusedError,
    "UNIMPLEMENTED": NotServedError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "CANCELLED": GenerationCancelledError,
    "UNAVAILABLE": MeshUnavailableError,
    "INTERNAL": InternalError,
}


def from_status(status: status_pb2.Status) -> VisualMeshError:
    """Return the exception for a status and the details packed into it."""
    code = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "UNKNOWN"
    found: dict[str, Any] = {"code": code}
    for detail in status.details:
        for read in (_error_info, _bad_request, _retry_info, _prompt, _model, _resource, _safety):
            found |= read(detail)
    kind = BY_REASON.get(found.get("reason", "")) or BY_CODE.get(code, VisualMeshError)
    return kind(status.message, **found)


def from_rpc(error: grpc.aio.AioRpcError, address: str) -> VisualMeshError:
    """Return the exception for a failed call to `address`."""
    trailing: Any = error.trailing_metadata()
    for key, value in trailing or ():
        if key == STATUS_METADATA and isinstance(value, bytes):
            return from_status(status_pb2.Status.FromString(value))
    code = error.code().name
    # A status without our details was made by gRPC on this side of the wire; its text speaks of sockets.
    message = {
        "UNAVAILABLE": f"no mesh answers at {address}",
        "DEADLINE_EXCEEDED": "the timeout passed before the work was done",
        "CANCELLED": "the call was cancelled",
    }.get(code, error.details() or code)
    return BY_CODE.get(code, VisualMeshError)(message, code=code)


def _error_info(detail: Any) -> dict[str, Any]:
    info = error_details_pb2.ErrorInfo()
    return {"reason": info.reason} if detail.Unpack(info) and info.domain == DOMAIN else {}


def _bad_request(detail: Any) -> dict[str, Any]:
    bad = error_details_pb2.BadRequest()
    if not detail.Unpack(bad):
        return {}
    return {"violations": [Violation(v.field, v.reason, v.description) for v in bad.field_violations]}


def _retry_info(detail: Any) -> dict[str, Any]:
    retry = error_details_pb2.RetryInfo()
    return {"retry_after": wire.seconds(retry.retry_delay)} if detail.Unpack(retry) else {}


def _prompt(detail: Any) -> dict[str, Any]:
    prompt = pb.PromptErrorDetail()
    return {"suggestions": list(prompt.suggestions)} if detail.Unpack(prompt) else {}


def _model(detail: Any) -> dict[str, Any]:
    model = pb.ModelErrorDetail()
    if not detail.Unpack(model):
        return {}
    waits = {"retry_after": wire.seconds(model.retry_after)} if model.HasField("retry_after") else {}
    return {"alternative_models": list(model.alternative_models), **waits}


def _resource(detail: Any) -> dict[str, Any]:
    resource = pb.ResourceErrorDetail()
    if not detail.Unpack(resource):
        return {}
    waits = {
        name: wire.seconds(getattr(resource, name))
        for name in ("estimated_wait", "retry_after")
        if resource.HasField(name)
    }
    return {"queue_position": resource.queue_position, **waits}


def _safety(detail: Any) -> dict[str, Any]:
    safety = pb.SafetyErrorDetail()
    if not detail.Unpack(safety):
        return {}
    return {"findings": [SafetyFinding.read(f) for f in safety.findings], "policy_link": safety.policy_link}
