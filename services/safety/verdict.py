"""The verdict on the wire."""

from collections.abc import Sequence
from dataclasses import dataclass

from scrollintel.visual.v1.safety_finding_pb2 import SafetyAction, SafetyCategory, SafetyFinding
from scrollintel.visual.v1.safety_pb2 import SafetyCheck, SafetyCheckStatus, SafetyVerdict
from services.safety.category import Signal
from services.safety.policy import Finding, Policy, strongest


@dataclass(frozen=True)
class Check:
    """A checker that was asked, and what it saw: None where it was not run, because others had decided already."""

    checker: str
    signals: Sequence[Signal] | None


def to_verdict(checks: Sequence[Check], policy: Policy) -> SafetyVerdict:
    """Judge what the checks saw. Whether a check was run and whether it saw anything are told apart."""
    findings = policy.judge(signal for check in checks for signal in check.signals or ())
    return SafetyVerdict(
        action=SafetyAction.ValueType(strongest(findings)),
        findings=[to_finding(finding) for finding in findings],
        policy_version=policy.version,
        checks=[check.checker for check in checks if check.signals is not None],
        policy_link=policy.link,
        check_results=[
            SafetyCheck(
                checker=check.checker,
                status=SafetyCheckStatus.SAFETY_CHECK_STATUS_SKIPPED
                if check.signals is None
                else SafetyCheckStatus.SAFETY_CHECK_STATUS_RAN,
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
