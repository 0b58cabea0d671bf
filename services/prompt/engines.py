"""What words prompts: one interface, templates that are always there, and whatever is asked first where it was chosen."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import structlog

from services.prompt.enhancement import Asked, Enhanced, enhance
from services.prompt.lexicon import Lexicon
from services.runtime import telemetry

TEMPLATES = "templates-1"  # to be raised when equal requests come to be answered otherwise

log = structlog.get_logger()
counted = telemetry.meter.create_counter(
    "vmesh.prompt.enhancements", description="Prompts enhanced, by engine and by why another one was not it"
)


class Fallback(IntEnum):
    """Why an engine's words are not used; the numbers are the contract's, which says what each means."""

    LATE = 1
    UNAVAILABLE = 2
    PAUSED = 3
    TOO_LONG = 4
    LANGUAGE = 5
    UNSURE = 6
    UNREADABLE = 7
    NEW_SUBJECT = 8
    CONTRADICTION = 9
    DRIFT = 10


class FallBack(Exception):  # noqa: N818 - a way to answer, and no failure of the call
    """The engine has nothing to say that may be used."""

    def __init__(self, reason: Fallback) -> None:
        super().__init__(reason.name)
        self.reason = reason


class Engine(Protocol):
    """Words prompts. Equal calls have equal answers, as long as what it asks answers in time."""

    @property
    def name(self) -> str:
        """What it is called in answers and figures, its version included."""
        ...

    async def enhance(self, asked: Asked) -> Enhanced | None:
        """Rewrite a prompt, all of whose words stay; None where the prompt leaves nothing to it. Raises FallBack."""
        ...


class Templates:
    """The phrases of the lexicon."""

    name = TEMPLATES

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon

    async def enhance(self, asked: Asked) -> Enhanced:
        """Rewrite a prompt; never falls back."""
        return await asyncio.to_thread(enhance, asked, self._lexicon)


@dataclass(frozen=True)
class Worded:
    """An enhanced prompt, which engine it is of, and why it is not of the one that was chosen."""

    enhanced: Enhanced
    engine: str
    fallback: Fallback | None


class Engines:
    """Asks the chosen engine, if there is one, and else or otherwise templates."""

    def __init__(self, templates: Templates, chosen: Engine | None = None) -> None:
        self._templates = templates
        self._chosen = chosen

    async def enhance(self, asked: Asked) -> Worded:
        """Rewrite a prompt."""
        found = await self._asked(asked)
        labels: Mapping[str, str] = {
            "engine": found.engine,
            "fallback": found.fallback.name.lower() if found.fallback else "",
        }
        counted.add(1, labels)
        return found

    async def _asked(self, asked: Asked) -> Worded:
        reason = None
        if self._chosen is not None:
            try:
                if (enhanced := await self._chosen.enhance(asked)) is not None:
                    return Worded(enhanced, self._chosen.name, None)
            except FallBack as fallback:
                reason = fallback.reason
                log.info("templates word a prompt", engine=self._chosen.name, fallback=reason.name)
        return Worded(await self._templates.enhance(asked), self._templates.name, reason)
