"""Which rules a text breaks: whole-word patterns with exceptions, read from data.

A rule is broken when one of its `patterns` is found, or when every group of its `together` is found anywhere in the
text. Harmless phrases that hold a forbidden word are named in `exceptions` and taken out before the rule looks, in the
plain spelling only: who writes `b u t c h e r ' s knife` is not given the benefit of the doubt.

Pattern language: a regular expression in lower case in which a space stands for any gap or hyphen, `<name>` for a word
list of the vocabulary, and `...` for up to five words between. Rules in letters of their own (`native`) are searched in
the text as it is written, anywhere in a word.

Texts hidden in base64 are judged like any other; a text read from right to left is judged in its plain spelling alone.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from services.safety import hiding, languages
from services.safety.category import WORST, Category, Signal
from services.safety.normalisation import Disguises
from services.safety.phrases import Phrase

_GAP = r"(?:[\s\-_]+)"
_ANY_GAP = r"(?:[\s\-_]*)"  # of letters of their own, whose gaps one of the readings has taken out
_FEW_WORDS = (
    r"(?:[^a-z0-9']+[a-z0-9']+){0,5}?[^a-z0-9']+"  # parts that share no character, so that no search explodes
)
_LIST = re.compile(r"<([a-z_]+)>")
ENGLISH = "english"
OTHERS = frozenset({languages.LATIN, languages.NATIVE})
_TAKEN_OUT = " ~ "  # stands where an exception was, so that its neighbours do not become a phrase


@dataclass(frozen=True)
class Rule:
    """What one kind of offence looks like. `groups` are searched in turn; all of them must be found.

    Rules of one `chapter` are passed over together where none of them can be broken; those without one stand alone.
    """

    name: str
    category: Category
    severity: int
    groups: Sequence[re.Pattern[str]]
    exceptions: re.Pattern[str] | None
    native: bool = False
    chapter: str = ""

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
    gates: Mapping[str, re.Pattern[str]]

    @property
    def checker(self) -> str:
        """Name and version, as findings carry it."""
        return f"prompt-rules/{self.version}"

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
        if silent := set(Category) - {rule.category for rule in rules}:
            raise ValueError(f"rules: no rule for {sorted(silent)}")
        return cls(str(data["version"]), rules, disguises, _gates(rules))

    def check(
        self,
        text: str,
        only: Iterable[Category] = tuple(Category),
        extra: Sequence[Rule] = (),
        allowed: Sequence[tuple[Category, Phrase]] = (),
    ) -> list[Signal]:
        """Return one signal for each broken rule of the given categories, `extra` rules last.

        Phrases that are `allowed` are no offence against their category, where they are written plainly and the offence
        is not of the worst severity.

        What a rule in English has found is not told again by those in other languages, with which it shares words.
        """
        wanted = frozenset(only)
        rules = [rule for rule in (*self.rules, *extra) if rule.category in wanted]
        signals: dict[str, Signal] = {}
        for said, manner in ((text, ""), *((said, ", in base64") for said in hiding.encoded(text))):
            for rule, disguise in self._broken(said, rules, allowed):
                if rule.chapter in OTHERS and _told(rule, signals.values()):
                    continue
                evidence = f"rule {rule.name}{disguise}{manner}"
                signals.setdefault(rule.name, Signal(rule.category, rule.severity, self.checker, evidence))
        return list(signals.values())

    def _broken(
        self, text: str, rules: Sequence[Rule], allowed: Sequence[tuple[Category, Phrase]]
    ) -> Iterator[tuple[Rule, str]]:
        """Yield the rules that a text breaks, each with how it is disguised."""
        plain, native = self.disguises.plain(text), self.disguises.native(text)
        mirrored = list(hiding.reversed_readings(plain))
        opened = lru_cache(maxsize=None)(self._open)
        spellings: dict[str, list[str]] = {}

        def breaks(rule: Rule, readings: Iterable[str]) -> bool:
            return any(opened(rule.chapter, reading) and rule.breaks(reading) for reading in readings)

        def kept_of(rule: Rule, reading: str) -> str:
            kept = rule.without_exceptions(reading)
            for category, phrase in allowed if rule.severity < WORST else ():
                if category is rule.category and phrase.native is rule.native:
                    kept = phrase.taken_out(kept)
            return kept

        for rule in rules:
            if rule.native:
                if breaks(rule, (kept_of(rule, reading) for reading in native)):
                    yield rule, ""
                continue
            kept = kept_of(rule, plain)
            if breaks(rule, [kept]):
                yield rule, ""
                continue
            if kept not in spellings:
                spellings[kept] = self.disguises.spellings(kept)
            if breaks(rule, spellings[kept]):
                yield rule, ", disguised spelling"
            elif breaks(rule, (kept_of(rule, reading) for reading in mirrored)):
                yield rule, ", from right to left"

    def _open(self, chapter: str, reading: str) -> bool:
        """Tell whether any rule of a chapter can be broken by a reading."""
        gate = self.gates.get(chapter)
        return gate is None or gate.search(reading) is not None


def _told(rule: Rule, signals: Iterable[Signal]) -> bool:
    return any(signal.category is rule.category and signal.severity >= rule.severity for signal in signals)


def rule_of(entry: Mapping[str, Any], vocabulary: Mapping[str, str]) -> Rule:
    """Read `{name, category, severity, patterns | together, exceptions, native}`; raises ValueError naming the rule."""
    name = entry.get("name", "without a name")
    try:
        severity = entry["severity"]
        if not 1 <= severity <= WORST:
            raise ValueError(f"severity must be from 1 to {WORST}")
        patterns, together = entry.get("patterns", []), entry.get("together", [])
        if bool(patterns) == bool(together):
            raise ValueError("give either patterns or together")
        native = bool(entry.get("native", False))
        groups = [_compile([pattern], vocabulary, native) for pattern in together] or [
            _compile(patterns, vocabulary, native)
        ]
        exceptions = entry.get("exceptions")
        return Rule(
            entry["name"],
            Category(entry["category"]),
            severity,
            groups,
            _compile(exceptions, vocabulary, native) if exceptions else None,
            native,
            entry.get("chapter", ""),
        )
    except (KeyError, TypeError, ValueError, re.error) as error:
        raise ValueError(f"rule {name}: {error}") from error


def _gates(rules: Sequence[Rule]) -> dict[str, re.Pattern[str]]:
    """Return for each chapter what finds the first group of any of its rules: one search instead of a hundred."""
    first: dict[str, dict[str, None]] = {}
    for rule in rules:
        first.setdefault(rule.chapter, {})[rule.groups[0].pattern] = None
    return {chapter: re.compile("|".join(patterns)) for chapter, patterns in first.items() if chapter}


def _compile(patterns: Sequence[str], vocabulary: Mapping[str, str], native: bool) -> re.Pattern[str]:
    """Compile alternatives: of whole words, or of letters anywhere where the language is `native`."""
    either = "|".join(_expand(pattern, vocabulary, _ANY_GAP if native else _GAP) for pattern in patterns)
    return re.compile(either if native else rf"(?<![a-z0-9])(?:{either})(?![a-z0-9])")


def _expand(pattern: str, vocabulary: Mapping[str, str], gap: str) -> str:
    expanded = _LIST.sub(lambda match: f"(?:{_expand(vocabulary[match[1]], vocabulary, gap)})", pattern)
    return expanded.replace(" ... ", _FEW_WORDS).replace(" ", gap)
