"""What a language model may be asked about a prompt, and what its answer must be like."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.prompt.aspects import Aspect
from services.prompt.enhancement import Asked
from services.prompt.lexicon import Lexicon
from services.prompt.styles import Level
from services.prompt.wording import Wording, unwanted

MOST_WORDS = 8  # of a phrase
_PHRASE = re.compile(r"[a-z]+(?:(?: |, |[-'])[a-z]+)*")  # English words on one line
_PAIR = re.compile(r"\s*([a-z]+)\s*:\s*([^:;\n]+?)\s*")


@dataclass(frozen=True)
class Gaps:
    """Which aspects a language model fills, and the words it may use for each; read from language_engine.yaml."""

    names: tuple[str, ...]
    words: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, data: Mapping[str, Any], lexicon: Lexicon) -> "Gaps":
        """Gather every word of the lexicon that speaks of an aspect; raises KeyError for an aspect it does not have."""
        aspects = {aspect.name: aspect for aspect in lexicon.aspects}
        own = Wording.of(" ".join(data["qualifiers"])).content
        names = tuple(data["aspects"])
        return cls(names, {name: own | _words(aspects[name], lexicon) for name in names})

    def open(self, asked: Asked, lexicon: Lexicon) -> list[str]:
        """Return the aspects to ask about: those of the level that neither the prompt nor its style speaks of."""
        prompt = Wording.of(asked.prompt)
        level = {aspect.name: aspect.level for aspect in lexicon.aspects if aspect.is_open(prompt)}
        styled = asked.style.aspects if asked.style else {}
        return [
            name
            for name in self.names
            if level.get(name, Level.RICH + 1) <= asked.level and not styled.get(name)
        ]

    def fits(self, name: str, phrase: str, prompt: str) -> bool:
        """Tell whether a phrase has only words of its aspect and of the prompt, so that it names nothing new."""
        return Wording.of(phrase).content <= self.words[name] | Wording.of(prompt).content


def _words(aspect: Aspect, lexicon: Lexicon) -> frozenset[str]:
    told: Iterator[str] = (style.aspects.get(aspect.name, "") for style in lexicon.styles.styles)
    texts = [aspect.name, aspect.add, *told, *lexicon.suggestions.get(aspect.name, ())]
    return Wording.of(" ".join(texts)).content.union(*(phrase.content for phrase in aspect.words))


def allowed(text: str, asked: Asked, said: str, lexicon: Lexicon) -> bool:
    """Tell whether a phrase speaks neither against the prompt, its style and what was `said` besides, nor of what is not wanted.

    One that says what is not to be there is never: it may be what the prompt asks for.
    """
    phrase = Wording.of(text)
    against = lexicon.opposites.against(Wording.of(f"{asked.prompt}, {asked.styled}, {said}"))
    avoided = unwanted(asked.prompt) | Wording.of(asked.negative_prompt).content
    return not (unwanted(text) or phrase.has_any(against) or phrase.content & avoided)


def parse(line: str, names: list[str]) -> dict[str, str] | None:
    """Read `aspect: phrase; aspect: phrase` of these aspects, each once and at least one; None for anything else."""
    found: dict[str, str] = {}
    for part in line.strip().rstrip(".;").split(";"):
        pair = _PAIR.fullmatch(part.casefold())
        if pair is None or pair[1] not in names or pair[1] in found:
            return None
        phrase = pair[2].rstrip(" .,")
        if _PHRASE.fullmatch(phrase) is None or len(Wording.of(phrase).words) > MOST_WORDS:
            return None
        found[pair[1]] = phrase
    return found
