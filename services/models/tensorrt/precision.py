"""Which precisions a GPU computes in, and how far each may take a component from its reference."""

from dataclasses import dataclass

from services.models.entry import Precision

GENERATIONS = {
    75: "Turing",
    80: "Ampere",
    86: "Ampere",
    89: "Ada",
    90: "Hopper",
    100: "Blackwell",
    120: "Blackwell",
}


@dataclass(frozen=True)
class Rule:
    """`since` is the first SM with the type in its matrix units; `tolerance` bounds max|a - b| / max(1, max|b|)."""

    since: int
    tolerance: float


# `since` is what TensorRT-RTX 1.7.1 compiles: below it the builder stops at the datatype. The tolerances are for one
# pass through a component; what its rounding really costs is told beside each engine, and in docs/07-models.md.
RULES = {
    Precision.FP32: Rule(75, 0.0),
    Precision.FP16: Rule(75, 1e-2),
    Precision.BF16: Rule(80, 5e-2),
    Precision.INT8: Rule(75, 5e-2),
    Precision.FP8: Rule(89, 1.25e-1),
}


def refusal(precision: Precision, sm: int) -> str:
    """Return why a GPU of compute capability `sm` does not compute in `precision`; empty when it does."""
    since = RULES[precision].since
    if sm >= since:
        return ""
    there = ", ".join(each for each, rule in RULES.items() if sm >= rule.since) or "none"
    return (
        f"{precision} needs compute capability {since // 10}.{since % 10} ({GENERATIONS[since]}) or newer, and sm{sm} "
        f"is {sm // 10}.{sm % 10}; precisions for it: {there}"
    )


def tolerance(precision: Precision, recorded: float) -> float:
    """Return what an engine may differ by, where the exported graph itself is allowed `recorded`."""
    return max(RULES[precision].tolerance, recorded)
