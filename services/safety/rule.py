"""What one kind of offence looks like, read from data."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, TypeAlias

import re2

from services.safety.category import WORST, Category
from services.safety.patterns import Patterns, expanded, expanded_natively

Replaced: TypeAlias = Any  # a compiled pattern of `re` or of `re2`, which have one interface

_TAKEN_OUT = " ~ "  # stands where an exception was, so that its neighbours do not become a phrase


@dataclass(frozen=True, eq=False)
class Rule:
    """One kind of offence. `groups` are regular expressions; all of them must be found, of whole words unless `native`.

    Rules of the `chapter` of other languages are silent where one in English has told as much.
    """

    name: str
    category: Category
    severity: int
    groups: Sequence[str]
    exceptions: Replaced | None
    native: bool = False
    chapter: str = ""

    def without_exceptions(self, plain: str) -> str:
        """Return the plain text with the rule's harmless phrases taken out."""
        return plain if self.exceptions is None else str(self.exceptions.sub(_TAKEN_OUT, plain))


def rule_of(entry: Mapping[str, Any], vocabulary: Mapping[str, str]) -> Rule:
    """Read `{name, category, severity, patterns, near, together, exceptions, native}`; raises ValueError naming the rule.

    `near` holds lists of patterns that offend with up to five words between them, in whatever order; where there is
    `together`, there are neither `patterns` nor `near`.
    """
    name = entry.get("name", "without a name")
    try:
        severity = entry["severity"]
        if not 1 <= severity <= WORST:
            raise ValueError(f"severity must be from 1 to {WORST}")
        patterns, together = [*entry.get("patterns", ()), *_near(entry)], entry.get("together", [])
        if bool(patterns) == bool(together):
            raise ValueError("give either patterns or together")
        native = bool(entry.get("native", False))
        groups = [_either([pattern], vocabulary, native) for pattern in together] or [
            _either(patterns, vocabulary, native)
        ]
        for group in groups:
            re.compile(group) if native else Patterns([group])
        exceptions = entry.get("exceptions")
        return Rule(
            entry["name"],
            Category(entry["category"]),
            severity,
            groups,
            _exceptions(_either(exceptions, vocabulary, native), native) if exceptions else None,
            native,
            entry.get("chapter", ""),
        )
    except (KeyError, TypeError, ValueError, re.error, re2.error) as error:
        raise ValueError(f"rule {name}: {error}") from error


def _near(entry: Mapping[str, Any]) -> Iterator[str]:
    for parts in entry.get("near", ()):
        for order in permutations(f"(?:{part})" for part in parts):
            yield " ... ".join(order)


def _either(patterns: Sequence[str], vocabulary: Mapping[str, str], native: bool) -> str:
    read = expanded_natively if native else expanded
    return "|".join(read(pattern, vocabulary) for pattern in patterns)


def _exceptions(either: str, native: bool) -> Replaced:
    """Return what takes phrases out; RE2 does it for whole words, since hostile texts hold many half phrases.

    To RE2 an underscore is part of a word, and here it is a gap.
    """
    return re.compile(either) if native else re2.compile(rf"(?:\b|_)(?:{either})(?:\b|_)")
