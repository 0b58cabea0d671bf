"""How a prompt is rewritten: the caller's words first and unchanged, then what they leave open.

Nothing is added that the prompt says already, that speaks against it, or that the caller does not want. Equal
arguments give equal answers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from services.prompt import tokens
from services.prompt.dialects import Dialect, Form
from services.prompt.lexicon import Lexicon
from services.prompt.styles import Level, Style
from services.prompt.wording import Wording, unwanted

SEPARATOR = 1  # token before each addition
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True)
class Worded:
    """The prompt as some models like it; in their names * stands for anything."""

    models: tuple[str, ...]
    prompt: str


@dataclass(frozen=True)
class Enhanced:
    """The prompt to draw and what to keep out of the picture.

    `wordings` are for models that are better given another prompt than this one; the first that fits a model counts.
    """

    prompt: str
    negative_prompt: str
    wordings: tuple[Worded, ...] = ()


@dataclass(frozen=True)
class Asked:
    """What the caller gave, and the dialect of the model that will draw it, as far as it is known.

    `chosen` tells whether the caller named the style; else it was detected. `seed` chooses among wordings that say the same
    as well; without one the first of each is taken.
    """

    prompt: str
    negative_prompt: str
    style: Style | None
    chosen: bool
    level: Level
    dialect: Dialect
    seed: int | None = None

    @property
    def styled(self) -> str:
        """All that the style says at the level, as one text."""
        if self.style is None:
            return ""
        words = [text for level, texts in self.style.words.items() if level <= self.level for text in texts]
        return ", ".join([*words, *self.style.aspects.values()])

    @property
    def title(self) -> str:
        """The phrase that names the style; empty without one."""
        return self.style.title if self.style else ""

    def demands(self, phrase: str) -> bool:
        """Tell whether a phrase names the style that the caller chose: a backend learns of it from the prompt alone."""
        return self.chosen and phrase == self.title


def enhance(asked: Asked, lexicon: Lexicon, additions: Mapping[str, str] = NOTHING) -> Enhanced:
    """Rewrite a prompt for drawing, up to the asked level; `additions` are said of aspects that the style leaves open."""
    if asked.level is Level.NONE:
        return Enhanced(asked.prompt, asked.negative_prompt)
    phrases = list(_wanted(asked, lexicon, additions))
    prompt = _worded(asked, phrases, asked.dialect)
    # A negative prompt is a list for every model that takes one.
    tags = replace(asked.dialect, form=Form.TAGS)
    negative_prompt = tags.append(asked.negative_prompt, list(_exclusions(asked, prompt)))
    return Enhanced(prompt, negative_prompt, tuple(_wordings(asked, phrases, prompt, lexicon)))


def _wordings(asked: Asked, phrases: list[str], prompt: str, lexicon: Lexicon) -> Iterator[Worded]:
    """Yield what models are given that `prompt` is not for, those of one wording together; the last is for all others."""
    usual, *others = lexicon.dialects.dialects
    fallback = _worded(asked, phrases, usual)
    models: dict[str, list[str]] = {}
    for dialect in others:
        models.setdefault(_worded(asked, phrases, dialect), []).extend(dialect.models)
    found = [Worded(tuple(names), text) for text, names in models.items() if text != fallback]
    if prompt != fallback:
        yield from [*found, Worded(("*",), fallback)]
    else:
        yield from found


def _worded(asked: Asked, phrases: list[str], dialect: Dialect) -> str:
    """Return the prompt with as many of the phrases as a dialect has room for."""
    room, said = dialect.room(asked.prompt), []
    for text in phrases:
        needed = SEPARATOR + tokens.count(text)
        if asked.demands(text) or needed <= room:
            room -= needed
            said.append(text)
    return dialect.append(asked.prompt, said, asked.title)


def _wanted(asked: Asked, lexicon: Lexicon, additions: Mapping[str, str]) -> Iterator[str]:
    """Yield the phrases that say something new and that the prompt is not against, the most important first."""
    prompt = Wording.of(asked.prompt)
    against = lexicon.opposites.against(prompt)
    avoided = unwanted(asked.prompt) | Wording.of(asked.negative_prompt).content
    said = set(prompt.content)
    for text in _candidates(asked, lexicon, prompt, additions):
        options = [(option, Wording.of(option)) for option in lexicon.alternatives.of(text, asked.seed)]
        if any(phrase.content <= prompt.content for _, phrase in options):
            continue  # the prompt says it, in whichever of the words
        for option, phrase in options:
            clashes = phrase.has_any(against) or phrase.content & avoided
            if not phrase.content <= said and (asked.demands(option) or not clashes):
                said |= phrase.content
                yield option
                break


def _candidates(
    asked: Asked, lexicon: Lexicon, prompt: Wording, additions: Mapping[str, str]
) -> Iterator[str]:
    """Yield what could be said, level by level: the style's own words, then the aspects that the prompt leaves open."""
    for level in (Level.LIGHT, Level.STANDARD, Level.RICH):
        if level > asked.level:
            return
        if asked.style:
            named = level is Level.LIGHT and prompt.has_any(asked.style.keywords)
            yield from asked.style.words[level][1 if named else 0 :]
        for aspect in lexicon.aspects:
            styled = asked.style.aspects.get(aspect.name) if asked.style else None
            text = styled or additions.get(aspect.name) or aspect.add
            if aspect.level is level and text and aspect.is_open(prompt):
                yield text


def _exclusions(asked: Asked, enhanced: str) -> Iterator[str]:
    """Yield the style's exclusions but those that the caller excludes already or that the prompt asks for."""
    if asked.style is None:
        return
    excluded, prompt, drawn = map(Wording.of, (asked.negative_prompt, asked.prompt, enhanced))
    for text in asked.style.negative:
        phrase = Wording.of(text)
        if not (excluded.has(phrase) or drawn.has(phrase) or phrase.content & prompt.content):
            yield text
