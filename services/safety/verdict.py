"""The verdict on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from scrollintel.visual.v1.safety_finding_pb2 import SafetyAction, SafetyCategory, SafetyFinding
from scrollintel.visual.v1.safety_pb2 import SafetyCheck, SafetyCheckStatus, SafetyVerdict
from services.safety.category import Signal
from services.safety.policy import Finding, Policy, strongest


class Went(IntEnum):
    """How a check went; the numbers are the contract's. One that failed is in no verdict."""

    RAN = 1
    SKIPPED = 2
    """Others had decided already."""
    NEEDS_WEIGHTS = 3


@dataclass(frozen=True)
class Check:
    """A checker, how its check went, and what it saw."""

    checker: str
    signals: Sequence[Signal] = ()
    went: Went = Went.RAN


def to_verdict(checks: Sequence[Check], policy: Policy) -> SafetyVerdict:
    """Judge what the checks saw. Whether a check was run and whether it saw anything are told apart."""
    findings = policy.judge(signal for check in checks for signal in check.signals)
    return SafetyVerdict(
        action=SafetyAction.ValueType(strongest(findings)),
        findings=[to_finding(finding) for finding in findings],
        policy_version=policy.version,
        checks=[check.checker for check in checks if check.went is Went.RAN],
        policy_link=policy.link,
        check_results=[
            SafetyCheck(
                checker=check.checker,
                status=SafetyCheckStatus.ValueType(check.went),
                matched=bool(check.signals),
            )
            for check in checks
        ],
    )


def to_finding(finding: Finding) -> SafetyFinding:
    """Return a finding as it goes over the wire."""
    signal = finding.signal
    return SafetyFinding(
        category=SafetyCategory.Value(f"SAFETY_CATEGORY_{signal.category.name}"),
        severity=signal.severity,
        action=SafetyAction.ValueType(finding.action),
        checker=signal.checker,
        evidence=signal.evidence,
    )
