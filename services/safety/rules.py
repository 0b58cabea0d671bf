"""Which rules a text breaks: patterns with exceptions, read from data.

A rule is broken when one of its `patterns` is found, when the parts of one of its `near` are found with few words between
them, or when every group of its `together` is found anywhere in the text. Harmless phrases that hold a forbidden word are named in `exceptions` and taken out before the rule looks, in the
plain spelling only: who writes `b u t c h e r ' s knife` is not given the benefit of the doubt.

Pattern language: a regular expression in lower case, without look-ahead, in which a space stands for any gap or hyphen,
`<name>` for a word list of the vocabulary, and `...` for up to five words between. Rules in letters of their own (`native`)
are searched in the text as it is written, anywhere in a word.

Texts hidden in base64 are judged like any other; a text read from right to left is judged in its plain spelling alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from services.safety import hiding, languages
from services.safety.category import JUDGED, WORST, Category, Signal
from services.safety.normalisation import Disguises
from services.safety.patterns import Patterns
from services.safety.phrases import Phrase
from services.safety.readings import Readings
from services.safety.rule import Rule, rule_of

ENGLISH = "english"
OTHERS = frozenset({languages.LATIN, languages.NATIVE})
TENANTS = 64  # whose terms are kept compiled

Allowed = Sequence[tuple[Category, Phrase]]


class Searched:
    """Rules, and where in `patterns` the groups of each are."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        groups = dict.fromkeys(group for rule in rules if not rule.native for group in rule.groups)
        places = {group: place for place, group in enumerate(groups)}
        self.patterns = Patterns(list(groups))
        self.needed = {
            rule: frozenset(places[group] for group in rule.groups) for rule in rules if not rule.native
        }
        self.native = {rule: [re.compile(group) for group in rule.groups] for rule in rules if rule.native}


@dataclass(frozen=True)
class RuleSet:
    """All rules of a version. `checker` names it in findings."""

    version: str
    searched: Searched
    disguises: Disguises

    @property
    def checker(self) -> str:
        """Name and version, as findings carry it."""
        return f"prompt-rules/{self.version}"

    @property
    def rules(self) -> Sequence[Rule]:
        """The rules, those in English first."""
        return self.searched.rules

    @classmethod
    def parse(
        cls, data: Mapping[str, Any], disguises: Disguises, others: Mapping[str, Any] | None = None
    ) -> "RuleSet":
        """Read `{version, vocabulary: {name: pattern}, rules: [...]}`; raises ValueError naming the rule that is wrong.

        `others` are rules in other languages (`languages.entries`).
        """
        vocabulary: dict[str, str] = data["vocabulary"]
        rules = [rule_of({**entry, "chapter": ENGLISH}, vocabulary) for entry in data["rules"]]
        rules += [rule_of(*filled) for filled in languages.entries(others, vocabulary)] if others else []
        names = [rule.name for rule in rules]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"rules: names given twice: {sorted(repeated)}")
        if silent := set(JUDGED) - {rule.category for rule in rules}:
            raise ValueError(f"rules: no rule for {sorted(silent)}")
        return cls(str(data["version"]), Searched(rules), disguises)

    def check(
        self,
        text: str,
        only: Iterable[Category] = JUDGED,
        extra: Sequence[Rule] = (),
        allowed: Allowed = (),
    ) -> list[Signal]:
        """Return one signal for each broken rule of the given categories, `extra` rules last.

        Phrases that are `allowed` are no offence against their category, where they are written plainly and the offence
        is not of the worst severity.

        What a rule in English has found is not told again by those in other languages, with which it shares words.
        """
        wanted = frozenset(only)
        signals: dict[str, Signal] = {}
        for said, manner in ((text, ""), *((said, ", in base64") for said in hiding.encoded(text))):
            for searched in (self.searched, *([_of_terms(tuple(extra))] if extra else [])):
                readings = Readings(said, self.disguises, searched.patterns)
                for rule, disguise in _broken(readings, searched, wanted, allowed):
                    if rule.chapter in OTHERS and _told(rule, signals.values()):
                        continue
                    evidence = f"rule {rule.name}{disguise}{manner}"
                    signals.setdefault(
                        rule.name, Signal(rule.category, rule.severity, self.checker, evidence)
                    )
        return list(signals.values())


@lru_cache(maxsize=TENANTS)
def _of_terms(rules: tuple[Rule, ...]) -> Searched:
    return Searched(rules)


def _broken(
    readings: Readings, searched: Searched, wanted: frozenset[Category], allowed: Allowed
) -> Iterator[tuple[Rule, str]]:
    """Yield the rules that a text breaks, each with how it is disguised."""
    for rule in searched.rules:
        if rule.category not in wanted:
            continue
        if rule.native:
            if _broken_natively(rule, searched.native[rule], readings, allowed):
                yield rule, ""
        elif (how := _how(rule, searched.needed[rule], readings, allowed)) is not None:
            yield rule, how


def _how(rule: Rule, needed: frozenset[int], readings: Readings, allowed: Allowed) -> str | None:
    """Return how a rule is broken, empty where it is plainly; None where it is not."""
    if not needed <= readings.anywhere:
        return None
    kept = _kept(rule, readings.plain, allowed)
    if needed <= readings.as_written and (kept == readings.plain or readings.holds(kept, needed)):
        return ""
    if readings.holds_disguised(kept, needed):
        return ", disguised spelling"
    for reading, found in readings.mirrored.items():
        if needed <= found and readings.holds(_kept(rule, reading, allowed), needed):
            return ", from right to left"
    return None


def _broken_natively(
    rule: Rule, groups: Sequence[re.Pattern[str]], readings: Readings, allowed: Allowed
) -> bool:
    kept = (_kept(rule, reading, allowed) for reading in readings.native)
    return any(all(group.search(reading) for group in groups) for reading in kept)


def _kept(rule: Rule, reading: str, allowed: Allowed) -> str:
    """Return a reading without what the rule, or the tenant, holds for harmless."""
    kept = rule.without_exceptions(reading)
    for category, phrase in allowed if rule.severity < WORST else ():
        if category is rule.category and phrase.native is rule.native:
            kept = phrase.taken_out(kept)
    return kept


def _told(rule: Rule, signals: Iterable[Signal]) -> bool:
    return any(signal.category is rule.category and signal.severity >= rule.severity for signal in signals)
