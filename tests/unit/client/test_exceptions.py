"""Every reason of the contract has its exception, and every detail is read."""

import pickle

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from scrollintel.visual import exceptions
from scrollintel.visual.exceptions import PromptError, SafetyError, VisualMeshError, from_status
from scrollintel.visual.v1 import errors_pb2, safety_finding_pb2
from services.runtime import errors as server
from tests.unit.client.scripted import status

FAMILIES = {
    server.Family.PROMPT: exceptions.PromptError,
    server.Family.MODEL: exceptions.ModelError,
    server.Family.RESOURCE: exceptions.ResourceError,
    server.Family.SAFETY: exceptions.SafetyError,
}


@pytest.mark.parametrize("reason", server.TABLE, ids=errors_pb2.ErrorReason.Name)
def test_every_reason_of_the_servers_has_its_exception(reason):
    sent = server.MeshError(reason, "words", retry_after=2.5, field="spec.image.width", suggestions=["a"])
    error = from_status(sent.status())
    assert type(error) is exceptions.BY_REASON[sent.name]
    assert isinstance(error, FAMILIES.get(sent.family, VisualMeshError))
    assert (error.reason, error.code, error.message) == (sent.name, sent.code.name, "words")
    assert error.retry_after == 2.5
    assert error.field == "spec.image.width"


def test_the_table_has_no_reason_that_is_not_in_the_contract():
    declared = {
        name.removeprefix("ERROR_REASON_") for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name
    } - {"UNSPECIFIED"}
    assert set(exceptions.BY_REASON) == declared


def test_violations_are_kept_in_order():
    bad = error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(field="spec.image.width", description="at least 256"),
            error_details_pb2.BadRequest.FieldViolation(field="spec.image.steps", description="at most 150"),
        ]
    )
    error = from_status(status(grpc.StatusCode.INVALID_ARGUMENT, "two rules", "FIELD_INVALID", bad))
    assert [(v.field, v.description) for v in error.violations] == [
        ("spec.image.width", "at least 256"),
        ("spec.image.steps", "at most 150"),
    ]
    assert error.field == "spec.image.width"


def test_safety_findings_and_alternatives_are_read():
    finding = safety_finding_pb2.SafetyFinding(
        category=safety_finding_pb2.SAFETY_CATEGORY_SEXUAL,
        severity=6,
        action=safety_finding_pb2.SAFETY_ACTION_BLOCK,
    )
    detail = errors_pb2.SafetyErrorDetail(findings=[finding], policy_link="docs/05-safety.md")
    error = from_status(status(grpc.StatusCode.FAILED_PRECONDITION, "no", "PROMPT_UNSAFE", detail))
    assert type(error) is SafetyError
    assert (error.findings[0].category, error.findings[0].severity) == ("sexual", 6)
    assert error.policy_link == "docs/05-safety.md"
    model = errors_pb2.ModelErrorDetail(retry_after=Duration(nanos=500_000_000), alternative_models=["b"])
    error = from_status(status(grpc.StatusCode.UNAVAILABLE, "gone", "MODEL_UNAVAILABLE", model))
    assert (error.retry_after, error.alternative_models) == (0.5, ("b",))


@pytest.mark.parametrize(
    ("code", "kind"), [(c, k) for c, k in exceptions.BY_CODE.items()] + [("DATA_LOSS", VisualMeshError)]
)
def test_a_status_of_another_server_goes_by_its_code(code, kind):
    answer = status_pb2.Status(code=getattr(grpc.StatusCode, code).value[0], message="words")
    assert type(from_status(answer)) is kind


def test_another_domain_is_not_ours():
    answer = status_pb2.Status(code=3, message="words")
    answer.details.add().Pack(error_details_pb2.ErrorInfo(reason="PROMPT_UNSAFE", domain="elsewhere"))
    assert type(from_status(answer)) is PromptError
    assert from_status(answer).reason == ""


def test_an_error_crosses_a_process_boundary():
    error = PromptError("words", reason="FIELD_INVALID", suggestions=["a"], retry_after=1.0)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is PromptError
    assert (again.message, again.suggestions, again.retry_after) == ("words", ("a",), 1.0)
