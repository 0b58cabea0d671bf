"""The verdict on the wire."""

from collections.abc import Sequence

from scrollintel.visual.v1.safety_finding_pb2 import SafetyAction, SafetyCategory, SafetyFinding
from scrollintel.visual.v1.safety_pb2 import SafetyVerdict
from services.safety.category import Signal
from services.safety.policy import Finding, Policy, strongest


def to_verdict(signals: Sequence[Signal], policy: Policy, checks: Sequence[str]) -> SafetyVerdict:
    """Judge what the checks saw; `checks` names those that ran, whether or not they saw anything."""
    findings = policy.judge(signals)
    return SafetyVerdict(
        action=SafetyAction.ValueType(strongest(findings)),
        findings=[to_finding(finding) for finding in findings],
        policy_version=policy.version,
        checks=checks,
        policy_link=policy.link,
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
