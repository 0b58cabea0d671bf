import pytest

from scrollintel.visual.v1 import errors_pb2, safety_finding_pb2
from scrollintel.visual.v1.safety_finding_pb2 import SafetyAction, SafetyFinding
from scrollintel.visual.v1.safety_pb2 import SafetyVerdict
from services.orchestrator import verdicts
from services.runtime.errors import MeshError

OUTCOMES = {
    "SAFETY_ACTION_ALLOW": None,
    "SAFETY_ACTION_FLAG": None,
    "SAFETY_ACTION_REDACT": errors_pb2.ERROR_REASON_PROMPT_UNSAFE,
    "SAFETY_ACTION_BLOCK": errors_pb2.ERROR_REASON_PROMPT_UNSAFE,
    "SAFETY_ACTION_UNSPECIFIED": errors_pb2.ERROR_REASON_SAFETY_UNCHECKED,
}


@pytest.mark.parametrize("action", [*SafetyAction.keys(), 99])
def test_only_a_clear_yes_passes(action):
    value = action if isinstance(action, int) else SafetyAction.Value(action)
    expected = OUTCOMES.get(action, errors_pb2.ERROR_REASON_SAFETY_UNCHECKED)
    try:
        verdicts.require_pass(
            SafetyVerdict(action=value), errors_pb2.ERROR_REASON_PROMPT_UNSAFE, "the prompt"
        )
        outcome = None
    except MeshError as error:
        outcome = error.reason
    assert outcome == expected


def test_a_refusal_names_category_and_severity_and_carries_the_findings():
    finding = SafetyFinding(
        category=safety_finding_pb2.SAFETY_CATEGORY_SELF_HARM,
        severity=5,
        action=safety_finding_pb2.SAFETY_ACTION_BLOCK,
    )
    verdict = SafetyVerdict(action=safety_finding_pb2.SAFETY_ACTION_BLOCK, findings=[finding])
    with pytest.raises(MeshError) as raised:
        verdicts.require_pass(verdict, errors_pb2.ERROR_REASON_PROMPT_UNSAFE, "the prompt")
    assert "self harm, severity 5" in raised.value.message
    assert list(raised.value.findings) == [finding]


@pytest.mark.parametrize(
    ("failed", "told"),
    [
        ("DEPENDENCY_UNAVAILABLE", "SAFETY_UNCHECKED"),
        ("MODEL_UNAVAILABLE", "SAFETY_UNCHECKED"),
        ("INTERNAL", "SAFETY_UNCHECKED"),
        ("OVERLOADED", "SAFETY_UNCHECKED"),
        ("SAFETY_UNCHECKED", "SAFETY_UNCHECKED"),
        ("PROMPT_UNSAFE", "PROMPT_UNSAFE"),
        ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
        ("CANCELLED", "CANCELLED"),
    ],
)
def test_a_check_that_failed_is_never_a_pass(failed, told):
    error = MeshError(errors_pb2.ErrorReason.Value(f"ERROR_REASON_{failed}"), "why")
    assert verdicts.as_unchecked(error, "the prompt").name == told
