"""A text without what is personal in it."""

from collections.abc import Mapping
from dataclasses import dataclass

from scrollintel.visual.v1 import safety_pb2 as pb


@dataclass(frozen=True, slots=True)
class Redaction:
    """A text with pseudonyms such as `<EMAIL_1>` in the place of personal data."""

    text: str
    """The text; the same words of the same kind have the same pseudonym."""
    kinds: tuple[str, ...]
    """Kinds of data that were replaced, such as `EMAIL`, each once, in the order of the text."""
    checks: tuple[str, ...]
    """What looked for it, by name and version; what none of them looks for is still in the text."""
    originals: Mapping[str, str]
    """What each pseudonym stands for; empty unless it was asked for."""

    @classmethod
    def read(cls, message: pb.RedactPromptResponse) -> "Redaction":
        """Read an answer from the wire."""
        return cls(message.prompt, tuple(message.entities), tuple(message.checks), dict(message.originals))
