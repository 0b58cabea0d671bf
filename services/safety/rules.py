"""Which rules a text breaks: whole-word patterns with exceptions, read from data.

A rule is broken when one of its `patterns` is found, or when every group of its `together` is found anywhere in the
text. Harmless phrases that hold a forbidden word are named in `exceptions` and taken out before the rule looks, in the
plain spelling only: who writes `b u t c h e r ' s knife` is not given the benefit of the doubt.

Pattern language: a regular expression in lower case in which a space stands for any gap or hyphen, `<name>` for a word
list of the vocabulary, and `...` for up to five words between.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.safety.category import WORST, Category, Signal
from services.safety.normalisation import Disguises

_GAP = r"(?:[\s\-_]+)"
_FEW_WORDS = (
    r"(?:[^a-z0-9']+[a-z0-9']+){0,5}?[^a-z0-9']+"  # parts that share no character, so that no search explodes
)
_LIST = re.compile(r"<([a-z_]+)>")
_TAKEN_OUT = " ~ "  # stands where an exception was, so that its neighbours do not become a phrase


@dataclass(frozen=True)
class Rule:
    """What one kind of offence looks like. `groups` are searched in turn; all of them must be found."""

    name: str
    category: Category
    severity: int
    groups: Sequence[re.Pattern[str]]
    exceptions: re.Pattern[str] | None

    def breaks(self, text: str) -> bool:
        """Tell whether a spelling breaks the rule."""
        return all(group.search(text) for group in self.groups)

    def without_exceptions(self, plain: str) -> str:
        """Return the plain text with the rule's harmless phrases taken out."""
        return plain if self.exceptions is None else self.exceptions.sub(_TAKEN_OUT, plain)


@dataclass(frozen=True)
class RuleSet:
    """All rules of a version. `checker` names it in findings."""

    version: str
    rules: Sequence[Rule]
    disguises: Disguises

    @property
    def checker(self) -> str:
        """Name and version, as findings carry it."""
        return f"prompt-rules/{self.version}"

    @classmethod
    def parse(cls, data: Mapping[str, Any], disguises: Disguises) -> "RuleSet":
        """Read `{version, vocabulary: {name: pattern}, rules: [...]}`; raises ValueError naming the rule that is wrong."""
        vocabulary: dict[str, str] = data["vocabulary"]
        rules = [_rule(entry, vocabulary) for entry in data["rules"]]
        names = [rule.name for rule in rules]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"rules: names given twice: {sorted(repeated)}")
        if silent := set(Category) - {rule.category for rule in rules}:
            raise ValueError(f"rules: no rule for {sorted(silent)}")
        return cls(str(data["version"]), rules, disguises)

    def check(self, text: str, only: Iterable[Category] = tuple(Category)) -> list[Signal]:
        """Return one signal for each broken rule of the given categories, in the order of the rules."""
        wanted = frozenset(only)
        return list(self._signals(self.disguises.plain(text), wanted))

    def _signals(self, plain: str, wanted: frozenset[Category]) -> Iterator[Signal]:
        spellings: dict[str, list[str]] = {}
        for rule in self.rules:
            if rule.category not in wanted:
                continue
            kept = rule.without_exceptions(plain)
            if rule.breaks(kept):
                yield Signal(rule.category, rule.severity, self.checker, f"rule {rule.name}")
                continue
            if kept not in spellings:
                spellings[kept] = self.disguises.spellings(kept)
            if any(rule.breaks(spelling) for spelling in spellings[kept]):
                yield Signal(
                    rule.category, rule.severity, self.checker, f"rule {rule.name}, disguised spelling"
                )


def _rule(entry: Mapping[str, Any], vocabulary: Mapping[str, str]) -> Rule:
    name = entry.get("name", "without a name")
    try:
        severity = entry["severity"]
        if not 1 <= severity <= WORST:
            raise ValueError(f"severity must be from 1 to {WORST}")
        patterns, together = entry.get("patterns", []), entry.get("together", [])
        if bool(patterns) == bool(together):
            raise ValueError("give either patterns or together")
        groups = [_compile([pattern], vocabulary) for pattern in together] or [_compile(patterns, vocabulary)]
        exceptions = entry.get("exceptions")
        return Rule(
            entry["name"],
            Category(entry["category"]),
            severity,
            groups,
            _compile(exceptions, vocabulary) if exceptions else None,
        )
    except (KeyError, TypeError, ValueError, re.error) as error:
        raise ValueError(f"rule {name}: {error}") from error


def _compile(patterns: Sequence[str], vocabulary: Mapping[str, str]) -> re.Pattern[str]:
    """Compile whole-word alternatives."""
    return re.compile(
        r"(?<![a-z0-9])(?:"
        + "|".join(_expand(pattern, vocabulary) for pattern in patterns)
        + r")(?![a-z0-9])"
    )


def _expand(pattern: str, vocabulary: Mapping[str, str]) -> str:
    expanded = _LIST.sub(lambda match: f"(?:{_expand(vocabulary[match[1]], vocabulary)})", pattern)
    return expanded.replace(" ... ", _FEW_WORDS).replace(" ", _GAP)
