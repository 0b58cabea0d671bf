"""The words of a verdict: what kind of content was found, and what is done about it."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

WORST = 7  # severities run from 0, harmless, to this


class Category(StrEnum):
    """Kinds of content that the policy speaks about; the names are the contract's, in lower case."""

    HATE = "hate"
    SEXUAL = "sexual"
    VIOLENCE = "violence"
    SELF_HARM = "self_harm"
    MINORS = "minors"
    ILLEGAL = "illegal"
    PUBLIC_FIGURE = "public_figure"
    COPYRIGHT = "copyright"
    PROMPT_INJECTION = "prompt_injection"
    PERSONAL_DATA = "personal_data"


# What rules and pictures are judged for. Personal data is looked for only where a policy says what is done about it.
JUDGED = tuple(category for category in Category if category is not Category.PERSONAL_DATA)


class Action(IntEnum):
    """What is done about a finding, from weakest to strongest; the numbers are the contract's."""

    ALLOW = 1
    FLAG = 2
    REDACT = 3
    BLOCK = 4


@dataclass(frozen=True)
class Signal:
    """What a checker saw, before the policy has judged it.

    `severity` is 0 to 7; `checker` is the checker's name and version; `evidence` names a rule or a score and never
    holds the caller's text, so that a verdict may be logged and stored.
    """

    category: Category
    severity: int
    checker: str
    evidence: str
