"""Better prompts: the caller's words but those to avoid, and one way each to say what they leave open."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from services.prompt import tokens
from services.prompt.ambiguities import Kind
from services.prompt.analysis import analyse
from services.prompt.lexicon import Lexicon
from services.prompt.removal import without
from services.prompt.wording import Wording, unwanted

MOST_ASPECTS = 4  # that one suggestion speaks of: more is no longer the caller's picture
MEANING = "meaning"


@dataclass(frozen=True)
class Suggestion:
    """A better prompt: the phrases that make it clearer, by the aspect that each speaks of, and what was left out of it."""

    prompt: str
    added: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    @property
    def reason(self) -> str:
        """What is better, in words."""
        *first, last = [f"leaves out {', '.join(self.left_out)}"] * bool(self.left_out) + [
            f"says what is meant: {text}" if name == MEANING else f"{name}: {text}"
            for name, text in self.added.items()
        ]
        return f"{', '.join(first)} and {last}" if first else last


def suggest(prompt: str, count: int, lexicon: Lexicon, avoid: Sequence[str] = ()) -> list[Suggestion]:
    """Return up to `count` suggestions, each with other phrases; none where there is nothing to better.

    Where spans to `avoid` stand in the prompt, all are without them, and the first changes nothing else. Equal arguments
    give equal suggestions.
    """
    kept, left_out = without(prompt, avoid)
    if not Wording.of(kept).words:
        return []
    found = analyse(kept, lexicon)
    readings = next((one.readings for one in found.ambiguities if one.kind is Kind.MEANINGS), ())
    asked = [name for name in lexicon.suggestions if name in found.missing][:MOST_ASPECTS]
    avoided = unwanted(kept).union(*(Wording.of(span).content for span in avoid))
    # Two prompts about alike things should not get the same pictures suggested.
    turn = int.from_bytes(hashlib.sha256(kept.encode("utf-8", "surrogatepass")).digest()[:4])
    made = {kept: Suggestion(kept, {}, left_out)} if left_out else {}
    for number in range(max(count, *map(len, lexicon.suggestions.values()))):
        added = {MEANING: readings[number % len(readings)]} if readings else {}
        added |= _phrases(kept, added, asked, avoided, turn + number, lexicon)
        text = lexicon.dialects.of("").append(kept, list(added.values()))
        if added and text != kept:
            made.setdefault(text, Suggestion(text, added, left_out))
    return list(islice(made.values(), count))


def _phrases(
    prompt: str,
    added: Mapping[str, str],
    aspects: list[str],
    avoided: frozenset[str],
    turn: int,
    lexicon: Lexicon,
) -> dict[str, str]:
    """Return a phrase for each aspect that has one which goes with the prompt and with those before it."""
    said = [prompt, *added.values()]
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
