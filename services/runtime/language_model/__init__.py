"""The language model behind prompts and their checks: one interface, the mesh's own model or an endpoint outside.

async with opened(settings) as model:                     # a LanguageModelSettings, which servers inherit
    answer = await model.complete([user("Name a color.")], most_tokens=8, seconds=2.0)
    choice = await model.choose([user("Is snow hot?")], ["yes", "no"], seconds=2.0)
"""

from services.runtime.language_model.connection import opened
from services.runtime.language_model.interface import (
    Choice,
    Completion,
    LanguageModel,
    Message,
    Role,
    assistant,
    system,
    user,
)
from services.runtime.language_model.settings import LanguageModelSettings

__all__ = [
    "Choice",
    "Completion",
    "LanguageModel",
    "LanguageModelSettings",
    "Message",
    "Role",
    "assistant",
    "opened",
    "system",
    "user",
]
