"""What a safety verdict means for a generation: it goes on only where the policy said so in as many words."""

from scrollintel.visual.v1 import errors_pb2, safety_finding_pb2
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from scrollintel.visual.v1.safety_finding_pb2 import SafetyCategory, SafetyFinding
from scrollintel.visual.v1.safety_pb2 import CheckPromptResponse, SafetyVerdict
from services.runtime.errors import DEFAULT_RETRY_SECONDS, Family, MeshError

PASSES = frozenset({safety_finding_pb2.SAFETY_ACTION_ALLOW, safety_finding_pb2.SAFETY_ACTION_FLAG})
# REDACT asks for the offending part to be removed. Where no text without it has come, it blocks.
REFUSES = frozenset({safety_finding_pb2.SAFETY_ACTION_REDACT, safety_finding_pb2.SAFETY_ACTION_BLOCK})

# What ends the call itself is told as it is; everything else that keeps a check from running is SAFETY_UNCHECKED.
TOLD_AS_IT_IS = frozenset({errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED, errors_pb2.ERROR_REASON_CANCELLED})


Texts = tuple[str, str]  # a prompt and a negative prompt


def usable(answer: CheckPromptResponse, asked: Texts) -> Texts:
    """Return the prompts to use: those that were asked, or those without what the policy takes out.

    Raises as `require_pass` where they may not be used.
    """
    without = answer.redacted_prompt, answer.redacted_negative_prompt
    if answer.verdict.action == safety_finding_pb2.SAFETY_ACTION_REDACT and all(
        bool(text) is bool(typed) for text, typed in zip(without, asked, strict=True)
    ):
        return without
    require_pass(answer.verdict, errors_pb2.ERROR_REASON_PROMPT_UNSAFE, "the prompt")
    return asked


def require_pass(verdict: SafetyVerdict, refused: ErrorReason.ValueType, what: str) -> None:
    """Return when the verdict lets `what` (`the prompt`) pass.

    Raises MeshError `refused` with the findings, worst first, when the policy refuses it, and SAFETY_UNCHECKED when
    the verdict holds no decision.
    """
    if verdict.action in PASSES:
        return
    if verdict.action not in REFUSES:
        raise unchecked(what)
    blocking = [finding for finding in verdict.findings if finding.action == verdict.action] or list(
        verdict.findings
    )
    named = ", ".join(dict.fromkeys(_category(finding) for finding in blocking))
    raise MeshError(
        refused,
        f"{what} breaks the safety policy{f' ({named})' if named else ''}; change it and send it again",
        findings=list(verdict.findings),
        policy_link=verdict.policy_link,
    )


def unchecked(what: str, retry_after: float | None = None) -> MeshError:
    """Return the error of a check that could not be run; `retry_after` in seconds where it is known."""
    return MeshError(
        errors_pb2.ERROR_REASON_SAFETY_UNCHECKED,
        f"{what} could not be checked for safety, so nothing is delivered; try again",
        retry_after=DEFAULT_RETRY_SECONDS if retry_after is None else retry_after,
    )


def as_unchecked(error: MeshError, what: str) -> MeshError:
    """Return what a failed check means: never a pass."""
    if error.reason in TOLD_AS_IT_IS or error.family is Family.SAFETY:
        return error
    return unchecked(what, error.retry_after)


def _category(finding: SafetyFinding) -> str:
    name = SafetyCategory.Name(finding.category).removeprefix("SAFETY_CATEGORY_")
    return f"{name.lower().replace('_', ' ')}, severity {finding.severity}"
