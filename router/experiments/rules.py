"""What a plan must keep to, whoever makes it: a caller or a file. Pure."""

from collections.abc import Callable, Container, Iterator
from datetime import timedelta
from typing import NamedTuple

from router.experiments.experiment import Metric, Plan

MOST_ARMS = 8
LONGEST = timedelta(days=90)
SUM_TOLERANCE = 1e-6  # decimal fractions do not sum to 1 exactly


class Breach(NamedTuple):
    """A rule that a plan breaks: where, as a path into it such as ("arms", 1, "name"), and the rule in words."""

    path: tuple[int | str, ...]
    rule: str

    @property
    def field(self) -> str:
        """The path as callers read it, such as `arms[1].name`."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)[1:]


class _Shadowed(NamedTuple):
    """What a metric asks of a plan with shadows."""

    met: Callable[[Plan], bool]
    words: str


_TWIN = _Shadowed(
    lambda plan: plan.twin is not None,
    "what shadows draw is compared with what a shadow of the control's model draws, so there must be one",
)
_SHADOWED = {
    Metric.QUALITY: _TWIN,
    Metric.SECONDS: _TWIN,
    Metric.RATING: _Shadowed(lambda _: False, "nobody sees what shadows draw, so nobody rates it"),
}


def breaches(plan: Plan) -> Iterator[Breach]:
    """Yield every rule that a plan breaks by itself."""
    if not 2 <= len(plan.arms) <= MOST_ARMS:
        yield Breach(("arms",), f"must be 2 to {MOST_ARMS}")
    if plan.arms and plan.control.shadow:
        yield Breach(("arms", 0, "shadow"), "the first arm is the control, which cannot be a shadow")
    names = [arm.name for arm in plan.arms]
    for index, arm in enumerate(plan.arms):
        if arm.name in names[:index]:
            yield Breach(("arms", index, "name"), f"two arms are called {arm.name}")
        if index and arm.shadow and (rule := _SHADOWED.get(plan.metric)) and not rule.met(plan):
            yield Breach(("arms", index, "shadow"), rule.words)
    shared = sum(arm.share for arm in plan.arms if not arm.shadow)
    if abs(shared - 1) > SUM_TOLERANCE:
        yield Breach(
            ("arms",), f"the shares of the arms that are no shadows must sum to 1, not to {shared:g}"
        )
    if not timedelta() < plan.duration <= LONGEST:
        yield Breach(("duration",), f"must be above 0 and at most {LONGEST.days} days")


def unknown_models(plan: Plan, known: Container[str]) -> Iterator[tuple[int, Breach]]:
    """Yield the arms whose model no backend serves, by their index."""
    for index, arm in enumerate(plan.arms):
        if arm.model not in known:
            yield index, Breach(("arms", index, "model"), f"no model is called {arm.model}")
