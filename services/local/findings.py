"""What the doctor can say: one finding for each thing that was looked at."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a thing is."""

    FINE = "fine"
    """There, and as it should be."""
    ADVICE = "advice"
    """The mesh works without it, less well or with a detour."""
    MISSING = "missing"
    """The mesh cannot work without it."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    detail: str
    remedy: str = ""
    """The command or step that mends it; empty when it is fine."""


def fine(name: str, detail: str) -> Finding:
    """Return a finding of something that is as it should be."""
    return Finding(name, Verdict.FINE, detail)


def advice(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding of something that would be better otherwise."""
    return Finding(name, Verdict.ADVICE, detail, remedy)


def missing(name: str, detail: str, remedy: str) -> Finding:
    """Return a finding of something that is needed and not there."""
    return Finding(name, Verdict.MISSING, detail, remedy)
