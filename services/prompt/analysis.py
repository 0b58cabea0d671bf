"""What a prompt says: its subject, what it leaves open, how long it is."""

from dataclasses import dataclass

from services.prompt.lexicon import Lexicon
from services.prompt.subject import subject_of
from services.prompt.wording import Wording


@dataclass(frozen=True)
class Analysis:
    """What was read from a prompt's words; `missing` names the aspects that it leaves open, in the lexicon's order."""

    subject: str
    missing: tuple[str, ...]
    words: int


def analyse(prompt: str, lexicon: Lexicon) -> Analysis:
    """Read a prompt."""
    wording = Wording.of(prompt)
    return Analysis(
        subject_of(prompt, lexicon.styles, lexicon.aspects),
        tuple(aspect.name for aspect in lexicon.aspects if aspect.is_open(wording)),
        len(prompt.split()),
    )
