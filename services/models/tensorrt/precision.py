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


# `since` is what TensorRT-RTX 1.7.1 compiles: below it the builder stops at the datatype (tests/models/test_tensorrt.py
# asks it again). The tolerances were set from the exact differences of the rounded graphs, see `RULES` in docs/07-models.md.
RULES = {
    Precision.FP32: Rule(75, 0.0),
    Precision.FP16: Rule(75, 2e-2),
    Precision.BF16: Rule(80, 8e-2),
    Precision.INT8: Rule(75, 2e-1),
    Precision.FP8: Rule(89, 2e-1),
}


def refusal(precision: Precision, sm: int) -> str:
    """Return why a GPU of compute capability `sm` does not compute in `precision`; empty when it does."""
    since = RULES[precision].since
    if sm >= since:
        return ""
    return (
        f"{precision} needs compute capability {since // 10}.{since % 10} ({GENERATIONS[since]}) or newer; sm{sm} is "
        f"{sm // 10}.{sm % 10}; there are for it: {', '.join(each for each in RULES if sm >= RULES[each].since) or 'none'}"
    )


def tolerance(precision: Precision, recorded: float) -> float:
    """Return what an engine may differ by where the fp32 graph itself is allowed `recorded`."""
    return max(RULES[precision].tolerance, recorded)
