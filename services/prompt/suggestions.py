"""Clearer prompts for a vague one: the caller's words, and one way each to say what they leave open."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from services.prompt import tokens
from services.prompt.ambiguities import Kind
from services.prompt.analysis import analyse
from services.prompt.lexicon import Lexicon
from services.prompt.wording import Wording, unwanted

MOST_ASPECTS = 4  # that one suggestion speaks of: more is no longer the caller's picture
MEANING = "meaning"


@dataclass(frozen=True)
class Suggestion:
    """A clearer prompt, and the phrases that make it so by the aspect that each speaks of."""

    prompt: str
    added: Mapping[str, str]

    @property
    def reason(self) -> str:
        """What is clearer, in words."""
        *first, last = [
            f"says what is meant: {text}" if name == MEANING else f"{name}: {text}"
            for name, text in self.added.items()
        ]
        return f"{', '.join(first)} and {last}" if first else last


def suggest(prompt: str, count: int, lexicon: Lexicon) -> list[Suggestion]:
    """Return up to `count` suggestions, each with other phrases; none where nothing is open and nothing has two meanings.

    Equal prompts get equal suggestions.
    """
    found = analyse(prompt, lexicon)
    readings = next((one.readings for one in found.ambiguities if one.kind is Kind.MEANINGS), ())
    asked = [name for name in lexicon.suggestions if name in found.missing][:MOST_ASPECTS]
    # Two prompts about alike things should not get the same pictures suggested.
    turn = int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()[:4])
    made: dict[str, Suggestion] = {}
    for number in range(max(count, *map(len, lexicon.suggestions.values()))):
        added = {MEANING: readings[number % len(readings)]} if readings else {}
        added |= _phrases(prompt, added, asked, turn + number, lexicon)
        if added:
            text = lexicon.dialects.of("").append(prompt, list(added.values()))
            made.setdefault(text, Suggestion(text, added))
    return list(islice((one for one in made.values() if one.prompt != prompt), count))


def _phrases(
    prompt: str, added: Mapping[str, str], aspects: list[str], turn: int, lexicon: Lexicon
) -> dict[str, str]:
    """Return a phrase for each aspect that has one which goes with the prompt and with those before it."""
    said, avoided = [prompt, *added.values()], unwanted(prompt)
    room = lexicon.dialects.of("").room(", ".join(said))
    chosen = {}
    for name in aspects:
        against = lexicon.opposites.against(Wording.of(", ".join(said)))
        for text in _from(lexicon.suggestions[name], turn):
            phrase = Wording.of(text)
            needed = 1 + tokens.count(text)
            if not phrase.has_any(against) and not phrase.content & avoided and needed <= room:
                chosen[name] = text
                said.append(text)
                room -= needed
                break
    return chosen


def _from(options: tuple[str, ...], turn: int) -> Iterator[str]:
    """Yield all options, beginning with the one whose turn it is."""
    for step in range(len(options)):
        yield options[(turn + step) % len(options)]
