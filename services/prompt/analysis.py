"""What a prompt says: its subject, its aspects, what it leaves open or to chance, its language, how long it is."""

from dataclasses import dataclass

from services.prompt.ambiguities import Ambiguity
from services.prompt.lexicon import Lexicon
from services.prompt.subject import subject_of
from services.prompt.wording import Wording


@dataclass(frozen=True)
class Analysis:
    """What was read from a prompt's words.

    `said` holds, per aspect that the prompt speaks of, the phrases that do; `missing` names the aspects that it leaves
    open. Both are in the lexicon's order. `language` is a BCP 47 code, empty where the words do not tell.
    """

    subject: str
    said: dict[str, tuple[str, ...]]
    missing: tuple[str, ...]
    ambiguities: tuple[Ambiguity, ...]
    language: str
    words: int


def analyse(prompt: str, lexicon: Lexicon) -> Analysis:
    """Read a prompt."""
    wording = Wording.of(prompt)
    said = {aspect.name: aspect.said(wording) for aspect in lexicon.aspects}
    return Analysis(
        subject_of(prompt, lexicon.styles, lexicon.aspects),
        {name: found for name, found in said.items() if found},
        tuple(aspect.name for aspect in lexicon.aspects if aspect.is_open(wording)),
        lexicon.ambiguities.of(wording),
        lexicon.languages.of(prompt),
        len(prompt.split()),
    )
