"""Which of a prompt's wordings a model is given."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Protocol


class Wording(Protocol):
    """A prompt as some models like it: `prompt.proto` PromptWording, or what a server keeps of one."""

    @property
    def prompt(self) -> str:
        """The prompt."""

    @property
    def models(self) -> Iterable[str]:
        """Names of models; * stands for anything."""


def wording_for(model: str, prompt: str, wordings: Iterable[Wording]) -> str:
    """Return the first wording that is for a model, or `prompt` where none is."""
    fitting = (one.prompt for one in wordings for pattern in one.models if fnmatchcase(model, pattern))
    return next(fitting, prompt)
