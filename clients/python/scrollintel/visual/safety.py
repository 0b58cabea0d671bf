"""What the safety policy found in a prompt or in a picture."""

from dataclasses import dataclass
from enum import StrEnum

from scrollintel.visual import wire
from scrollintel.visual.v1 import safety_finding_pb2 as pb


class SafetyCategory(StrEnum):
    """Kinds of content that the safety policy speaks about."""

    HATE = "hate"
    SEXUAL = "sexual"
    VIOLENCE = "violence"
    SELF_HARM = "self_harm"
    MINORS = "minors"
    ILLEGAL = "illegal"
    PUBLIC_FIGURE = "public_figure"
    COPYRIGHT = "copyright"
    PROMPT_INJECTION = "prompt_injection"
    PERSONAL_DATA = "personal_data"
    UNKNOWN = "unknown"


class SafetyAction(StrEnum):
    """What the policy does about a finding."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    BLOCK = "block"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class SafetyFinding:
    """One thing that a checker found."""

    category: SafetyCategory
    severity: int
    """How bad it is, 0 (harmless) to 7 (worst)."""
    action: SafetyAction
    checker: str
    """Name and version of the checker, such as `prompt-rules/1`."""
    evidence: str
    """A matched rule's name or a score; never the caller's text."""

    @classmethod
    def read(cls, message: pb.SafetyFinding) -> "SafetyFinding":
        """Read a finding from the wire."""
        return cls(
            category=wire.word(SafetyCategory, pb.SafetyCategory.DESCRIPTOR, message.category),
            severity=message.severity,
            action=wire.word(SafetyAction, pb.SafetyAction.DESCRIPTOR, message.action),
            checker=message.checker,
            evidence=message.evidence,
        )
