"""The error contract: one exception, one table, and the way to and from the wire.

A handler raises `MeshError`; the error layer of the runtime turns it into a gRPC status with `google.rpc` details and
the detail of its family. A caller inside the mesh turns what it received back into a `MeshError` with `calling`, so an
error keeps its reason, its advice and its words across every hop.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from scrollintel.visual.v1.safety_finding_pb2 import SafetyFinding

DOMAIN = "visual.scrollintel"
STATUS_DETAILS_KEY = "grpc-status-details-bin"
PREFIX = "ERROR_REASON_"


class Family(StrEnum):
    """The four families of errors that a caller can act on, and none for the rest."""

    PROMPT = "PROMPT_ERROR"
    MODEL = "MODEL_ERROR"
    RESOURCE = "RESOURCE_ERROR"
    SAFETY = "SAFETY_ERROR"
    NONE = ""


Code = grpc.StatusCode

# The contract: each reason has one code and one family.
TABLE: dict[ErrorReason.ValueType, tuple[grpc.StatusCode, Family]] = {
    errors_pb2.ERROR_REASON_FIELD_INVALID: (Code.INVALID_ARGUMENT, Family.PROMPT),
    errors_pb2.ERROR_REASON_STYLE_UNKNOWN: (Code.INVALID_ARGUMENT, Family.PROMPT),
    errors_pb2.ERROR_REASON_MODEL_UNKNOWN: (Code.INVALID_ARGUMENT, Family.PROMPT),
    errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE: (Code.UNAVAILABLE, Family.MODEL),
    errors_pb2.ERROR_REASON_MODEL_FAILED: (Code.UNAVAILABLE, Family.MODEL),
    errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS: (Code.UNAVAILABLE, Family.MODEL),
    errors_pb2.ERROR_REASON_NO_BACKEND: (Code.UNAVAILABLE, Family.MODEL),
    errors_pb2.ERROR_REASON_OUTCOME_UNKNOWN: (Code.UNKNOWN, Family.MODEL),
    errors_pb2.ERROR_REASON_OVERLOADED: (Code.RESOURCE_EXHAUSTED, Family.RESOURCE),
    errors_pb2.ERROR_REASON_OUT_OF_MEMORY: (Code.RESOURCE_EXHAUSTED, Family.RESOURCE),
    errors_pb2.ERROR_REASON_QUOTA_EXHAUSTED: (Code.RESOURCE_EXHAUSTED, Family.RESOURCE),
    errors_pb2.ERROR_REASON_PROMPT_UNSAFE: (Code.FAILED_PRECONDITION, Family.SAFETY),
    errors_pb2.ERROR_REASON_OUTPUT_UNSAFE: (Code.FAILED_PRECONDITION, Family.SAFETY),
    errors_pb2.ERROR_REASON_SAFETY_UNCHECKED: (Code.FAILED_PRECONDITION, Family.SAFETY),
    errors_pb2.ERROR_REASON_NOT_FOUND: (Code.NOT_FOUND, Family.NONE),
    errors_pb2.ERROR_REASON_REQUEST_ID_REUSED: (Code.ALREADY_EXISTS, Family.NONE),
    errors_pb2.ERROR_REASON_MEDIA_INVALID: (Code.INVALID_ARGUMENT, Family.PROMPT),
    errors_pb2.ERROR_REASON_UNIMPLEMENTED: (Code.UNIMPLEMENTED, Family.NONE),
    errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED: (Code.DEADLINE_EXCEEDED, Family.NONE),
    errors_pb2.ERROR_REASON_CANCELLED: (Code.CANCELLED, Family.NONE),
    errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE: (Code.UNAVAILABLE, Family.NONE),
    errors_pb2.ERROR_REASON_INTERNAL: (Code.INTERNAL, Family.NONE),
}

# What a status without our details means, by its code: it comes from gRPC itself or from a foreign server.
FOREIGN: dict[grpc.StatusCode, ErrorReason.ValueType] = {
    Code.DEADLINE_EXCEEDED: errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
    Code.CANCELLED: errors_pb2.ERROR_REASON_CANCELLED,
    Code.UNAVAILABLE: errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
    Code.RESOURCE_EXHAUSTED: errors_pb2.ERROR_REASON_OVERLOADED,
    Code.UNIMPLEMENTED: errors_pb2.ERROR_REASON_UNIMPLEMENTED,
}

DEFAULT_RETRY_SECONDS = 1.0  # advised where a server is away and nobody knows for how long


@dataclass(eq=False)
class MeshError(Exception):
    """A failure that a caller may read: a reason of the contract, a message, and what helps to act.

    `message` is shown to callers: name the field and the rule, say what to do next, never put internals into it.
    `field` is a path such as `spec.image.width`; `violations` holds (field, rule) pairs where there are several.
    `retry_after` and `estimated_wait` are in seconds.
    """

    reason: ErrorReason.ValueType
    message: str
    field: str = ""
    violations: Sequence[tuple[str, str]] = ()
    suggestions: Sequence[str] = ()
    retry_after: float | None = None
    alternative_models: Sequence[str] = ()
    estimated_wait: float | None = None
    queue_position: int = 0
    findings: Sequence[SafetyFinding] = ()
    policy_link: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"

    @property
    def name(self) -> str:
        """The reason without its prefix, as it travels in `ErrorInfo.reason`."""
        return ErrorReason.Name(self.reason).removeprefix(PREFIX)

    @property
    def code(self) -> grpc.StatusCode:
        """The gRPC code of the reason."""
        return TABLE[self.reason][0]

    @property
    def family(self) -> Family:
        """The family of the reason."""
        return TABLE[self.reason][1]

    def status(self) -> status_pb2.Status:
        """Return the status as it goes over the wire, with every detail that applies."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self._details():
            status.details.add().Pack(detail)
        return status

    def _details(self) -> Iterator[Message]:
        metadata = {"family": str(self.family)} if self.family else {}
        yield error_details_pb2.ErrorInfo(reason=self.name, domain=DOMAIN, metadata=metadata)
        violations = self.violations or ([(self.field, self.message)] if self.field else [])
        if violations:
            yield error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(field=name, description=rule)
                    for name, rule in violations
                ]
            )
        if self.retry_after is not None:
            yield error_details_pb2.RetryInfo(retry_delay=seconds(self.retry_after))
        match self.family:
            case Family.PROMPT:
                yield errors_pb2.PromptErrorDetail(suggestions=self.suggestions)
            case Family.MODEL:
                yield errors_pb2.ModelErrorDetail(
                    retry_after=seconds(self.retry_after), alternative_models=self.alternative_models
                )
            case Family.RESOURCE:
                yield errors_pb2.ResourceErrorDetail(
                    estimated_wait=seconds(self.estimated_wait),
                    queue_position=self.queue_position,
                    retry_after=seconds(self.retry_after),
                )
            case Family.SAFETY:
                yield errors_pb2.SafetyErrorDetail(findings=self.findings, policy_link=self.policy_link)
            case Family.NONE:
                return

    @classmethod
    def from_status(cls, status: status_pb2.Status) -> "MeshError":
        """Read a status back; one that is not of our contract becomes INTERNAL or what its code means."""
        if not any(map(_is_ours, status.details)):
            code = next((code for code in grpc.StatusCode if code.value[0] == status.code), Code.INTERNAL)
            return foreign(code, "a server of the mesh")
        error = cls(errors_pb2.ERROR_REASON_INTERNAL, status.message)
        for packed in status.details:
            _read_detail(error, packed)
        return error

    @classmethod
    def from_rpc(cls, error: grpc.aio.AioRpcError, dependency: str) -> "MeshError":
        """Read what a called server answered; `dependency` names it where the answer is not of our contract."""
        for key, value in error.trailing_metadata() or ():
            if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
                try:
                    return cls.from_status(status_pb2.Status.FromString(value))
                except DecodeError:
                    break
        return foreign(error.code(), dependency)


def seconds(value: float | None) -> Duration | None:
    """Return seconds as a Duration, negative ones as 0."""
    if value is None:
        return None
    duration = Duration()
    duration.FromNanoseconds(max(0, round(value * 1e9)))
    return duration


def foreign(code: grpc.StatusCode, dependency: str) -> MeshError:
    """Return the error for a status without our details; its text is not ours and is dropped."""
    reason = FOREIGN.get(code, errors_pb2.ERROR_REASON_INTERNAL)
    messages = {
        errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED: "the deadline passed",
        errors_pb2.ERROR_REASON_CANCELLED: "the call was cancelled",
        errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE: f"{dependency} cannot be reached; try again shortly",
        errors_pb2.ERROR_REASON_OVERLOADED: f"{dependency} is full; try again shortly",
        errors_pb2.ERROR_REASON_UNIMPLEMENTED: f"{dependency} does not serve this call",
    }
    retry = DEFAULT_RETRY_SECONDS if code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED) else None
    return MeshError(reason, messages.get(reason, f"{dependency} failed"), retry_after=retry)


@contextmanager
def calling(dependency: str) -> Iterator[None]:
    """Turn what a called server answers into `MeshError`: `with calling("safety"): await stub.CheckPrompt(...)`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise MeshError.from_rpc(error, dependency) from error


def _is_ours(packed: AnyMessage) -> bool:
    info = error_details_pb2.ErrorInfo()
    return packed.Unpack(info) and info.domain == DOMAIN


def _read_detail(error: MeshError, packed: AnyMessage) -> None:
    for kind, read in _READERS.items():
        detail = kind()
        if packed.Unpack(detail):
            read(error, detail)


def _read_info(error: MeshError, detail: error_details_pb2.ErrorInfo) -> None:
    try:
        error.reason = ErrorReason.Value(PREFIX + detail.reason)
    except ValueError:  # a newer server's reason
        error.reason = errors_pb2.ERROR_REASON_INTERNAL


def _read_violations(error: MeshError, detail: error_details_pb2.BadRequest) -> None:
    error.violations = [(violation.field, violation.description) for violation in detail.field_violations]
    error.field = error.violations[0][0] if error.violations else ""


def _read_retry(error: MeshError, detail: error_details_pb2.RetryInfo) -> None:
    error.retry_after = detail.retry_delay.ToNanoseconds() / 1e9


def _read_prompt(error: MeshError, detail: errors_pb2.PromptErrorDetail) -> None:
    error.suggestions = list(detail.suggestions)


def _read_model(error: MeshError, detail: errors_pb2.ModelErrorDetail) -> None:
    error.alternative_models = list(detail.alternative_models)


def _read_resource(error: MeshError, detail: errors_pb2.ResourceErrorDetail) -> None:
    error.queue_position = detail.queue_position
    if detail.HasField("estimated_wait"):
        error.estimated_wait = detail.estimated_wait.ToNanoseconds() / 1e9


def _read_safety(error: MeshError, detail: errors_pb2.SafetyErrorDetail) -> None:
    error.findings = list(detail.findings)
    error.policy_link = detail.policy_link


_READERS: dict[type[Message], Callable[[MeshError, Any], None]] = {
    error_details_pb2.ErrorInfo: _read_info,
    error_details_pb2.BadRequest: _read_violations,
    error_details_pb2.RetryInfo: _read_retry,
    errors_pb2.PromptErrorDetail: _read_prompt,
    errors_pb2.ModelErrorDetail: _read_model,
    errors_pb2.ResourceErrorDetail: _read_resource,
    errors_pb2.SafetyErrorDetail: _read_safety,
}
