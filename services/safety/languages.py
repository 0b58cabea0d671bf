"""Rules in other languages: a skeleton that they share, filled with the words of each."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SLOT = re.compile(r"<([a-z_]+)>")
_ALTERNATIVES = re.compile(r"<[a-z_]+>(?:\|<[a-z_]+>)*")

LATIN, NATIVE = "languages", "native"  # the chapters, named as in the data

Entry = dict[str, Any]


def entries(data: Mapping[str, Any], shared: Mapping[str, str]) -> Iterator[tuple[Entry, Mapping[str, str]]]:
    """Yield each language's rules as rules.yaml would write them, with the vocabulary to read them by.

    `data` is `{skeleton: [rule, ...], languages: {code: {slot: pattern}}, native: {code: {slot: pattern}}}`; a rule's
    name gets the language's code behind it. `shared` fills the slots that a language has no words of its own for.
    Raises ValueError naming a slot that no rule of the skeleton asks for.
    """
    asked = {
        slot for rule in data["skeleton"] for pattern in _patterns(rule) for slot in _SLOT.findall(pattern)
    }
    for native, chapter, languages in (
        (False, LATIN, data[LATIN]),
        (True, NATIVE, data[NATIVE]),
    ):
        for code, words in languages.items():
            if unknown := set(words) - asked:
                raise ValueError(f"language {code}: no rule asks for {sorted(unknown)}")
            vocabulary = {**shared, **words}
            for rule in data["skeleton"]:
                if filled := _filled(rule, vocabulary):
                    yield (
                        {**filled, "name": f"{rule['name']}.{code}", "native": native, "chapter": chapter},
                        vocabulary,
                    )


def _patterns(rule: Entry) -> list[str]:
    return [pattern for key in ("patterns", "together", "exceptions") for pattern in rule.get(key, ())]


def _filled(rule: Entry, vocabulary: Mapping[str, str]) -> Entry | None:
    """Return a rule with the slots that there are words for; None when it would hold nothing."""
    kept: dict[str, list[str]] = {
        key: [known for pattern in rule[key] if (known := _known(pattern, vocabulary))]
        for key in ("patterns", "together", "exceptions")
        if key in rule
    }
    for key in ("patterns", "together"):
        if len(kept.get(key, ())) < len(rule.get(key, ())):
            return None
    return {**rule, **kept}


def _known(pattern: str, vocabulary: Mapping[str, str]) -> str:
    """Return a pattern without the alternatives that there are no words for, empty when nothing is left."""
    slots: Sequence[str] = _SLOT.findall(pattern)
    if _ALTERNATIVES.fullmatch(pattern):
        return "|".join(f"<{slot}>" for slot in slots if slot in vocabulary)
    return pattern if all(slot in vocabulary for slot in slots) else ""
