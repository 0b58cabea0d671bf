"""What is done about what was found: severity thresholds per category, read from data."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.safety.category import JUDGED, WORST, Action, Category, Signal

ACTIONS = {"flag": Action.FLAG, "redact": Action.REDACT, "block": Action.BLOCK}


class PolicyError(ValueError):
    """An entry of a policy breaks a rule. `path` leads to it, key by key; `rule` says what must hold."""

    def __init__(self, path: Sequence[str], rule: str) -> None:
        super().__init__(f"{'.'.join(path)}: {rule}" if path else rule)
        self.path = tuple(path)
        self.rule = rule


@dataclass(frozen=True)
class Finding:
    """A signal and what the policy does about it."""

    signal: Signal
    action: Action


@dataclass(frozen=True)
class Policy:
    """The smallest severity at which each action applies, per category; below all of them content is allowed."""

    version: str
    link: str
    thresholds: Mapping[Category, Mapping[Action, int]]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Policy":
        """Read `{version, link, thresholds: {category: {flag|redact|block: severity}}}`.

        Every category but personal data must be named and must have a severity that blocks: a policy that forgets a
        category would let it pass. Personal data alone can be redacted, and is looked for only where it is named.
        Raises PolicyError naming the entry that breaks a rule.
        """
        given = data["thresholds"]
        if not isinstance(given, dict):
            raise PolicyError(("thresholds",), "must be a mapping of categories")
        if unknown := set(given) - set(Category):
            raise PolicyError(("thresholds",), f"unknown categories {sorted(map(str, unknown))}")
        if missing := set(JUDGED) - set(given):
            raise PolicyError(("thresholds",), f"no entry for {sorted(missing)}")
        thresholds = {
            category: _ladder(category, given[category]) for category in Category if category in given
        }
        return cls(str(data["version"]), str(data["link"]), thresholds)

    @property
    def reads_personal_data(self) -> bool:
        """Whether something is done about personal data."""
        return bool(self.thresholds.get(Category.PERSONAL_DATA))

    def action(self, category: Category, severity: int) -> Action:
        """Return the strongest action whose threshold the severity reaches."""
        reached = (action for action, least in self.thresholds.get(category, {}).items() if severity >= least)
        return max(reached, default=Action.ALLOW)

    def judge(self, signals: Iterable[Signal]) -> list[Finding]:
        """Return the findings, worst first: by action, then severity, then category and evidence."""
        findings = [Finding(signal, self.action(signal.category, signal.severity)) for signal in signals]
        return sorted(
            findings,
            key=lambda finding: (
                -finding.action,
                -finding.signal.severity,
                finding.signal.category,
                finding.signal.evidence,
            ),
        )


def strongest(findings: Iterable[Finding]) -> Action:
    """Return the strongest action among findings, ALLOW when there are none."""
    return max((finding.action for finding in findings), default=Action.ALLOW)


def _ladder(category: Category, given: Mapping[str, int]) -> dict[Action, int]:
    path = ("thresholds", category.value)
    if not isinstance(given, dict):
        raise PolicyError(path, "must be a mapping of actions")
    if unknown := set(given) - set(ACTIONS):
        raise PolicyError(path, f"unknown actions {sorted(map(str, unknown))}; known are {sorted(ACTIONS)}")
    if "redact" in given and category is not Category.PERSONAL_DATA:
        raise PolicyError((*path, "redact"), "only personal_data can be redacted; use flag or block")
    if "block" not in given and category is not Category.PERSONAL_DATA:
        raise PolicyError(path, f"no severity blocks; name one from 1 to {WORST}")
    for name, severity in given.items():
        if not isinstance(severity, int) or isinstance(severity, bool) or not 1 <= severity <= WORST:
            raise PolicyError((*path, name), f"must be a whole number from 1 to {WORST}")
    ladder = {ACTIONS[name]: severity for name, severity in given.items()}
    steps = [ladder[action] for action in sorted(ladder)]
    if steps != sorted(steps):
        raise PolicyError(path, "a stronger action must not start at a lower severity")
    return ladder
