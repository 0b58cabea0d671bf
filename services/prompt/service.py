"""PromptService: from the wire to the lexicon and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc

from scrollintel.visual.v1 import errors_pb2, prompt_pb2, prompt_pb2_grpc
from services.prompt import detection
from services.prompt.analysis import analyse
from services.prompt.circuit import Circuit
from services.prompt.engines import Engines, Templates
from services.prompt.enhancement import Asked
from services.prompt.exemplars import Exemplars
from services.prompt.language_engine import LanguageEngine
from services.prompt.lexicon import Lexicon, load
from services.prompt.meanings import Meanings
from services.prompt.messages import to_analysis
from services.prompt.own import OwnTemplates
from services.prompt.search import told
from services.prompt.settings import EngineName, Settings
from services.prompt.styles import Level, Style, UnknownStyleError
from services.prompt.suggestions import suggest
from services.prompt.template_rpcs import TemplateRpcs
from services.prompt.wording import Wording, unwanted
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.language_model import opened
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

WARM_UP = "a cat"
SUGGESTIONS = 3  # where the caller does not say


class PromptService(TemplateRpcs, prompt_pb2_grpc.PromptServiceServicer):
    """Analyses and enhances prompts, and makes them of templates."""

    def __init__(
        self,
        lexicon: Lexicon,
        exemplars: Exemplars,
        meanings: Meanings,
        own: OwnTemplates,
        engines: Engines,
    ) -> None:
        self._lexicon = lexicon
        self._engines = engines
        self._exemplars = exemplars
        self._meanings = meanings
        self._own = own

    async def AnalyzePrompt(
        self, request: prompt_pb2.AnalyzePromptRequest, context: Context
    ) -> prompt_pb2.AnalyzePromptResponse:
        """Say what a prompt holds and what it leaves open."""
        matches = await self._detect(request.prompt)
        found = await asyncio.to_thread(analyse, request.prompt, self._lexicon)
        return prompt_pb2.AnalyzePromptResponse(analysis=to_analysis(found, matches))

    async def EnhancePrompt(
        self, request: prompt_pb2.EnhancePromptRequest, context: Context
    ) -> prompt_pb2.EnhancePromptResponse:
        """Rewrite a prompt in the named style, or in the one that it is in."""
        style = self._named(request.style) if request.style else None
        matches = await self._detect(request.prompt)
        if style is None and matches:
            style = self._lexicon.styles.get(matches[0].style)
        asked = Asked(
            request.prompt,
            request.negative_prompt,
            style,
            chosen=bool(request.style),
            level=Level(request.level) if request.HasField("level") else Level.STANDARD,
            dialect=self._lexicon.dialects.of(request.model),
            seed=request.seed if request.HasField("seed") else None,
        )
        found = await asyncio.to_thread(analyse, request.prompt, self._lexicon)
        worded = await self._engines.enhance(asked)
        enhanced = worded.enhanced
        return prompt_pb2.EnhancePromptResponse(
            prompt=enhanced.prompt,
            negative_prompt=enhanced.negative_prompt,
            style=style.name if style else "",
            analysis=to_analysis(found, matches),
            dialect=asked.dialect.name,
            wordings=[
                prompt_pb2.PromptWording(models=one.models, prompt=one.prompt) for one in enhanced.wordings
            ],
            engine=worded.engine,
            fallback=prompt_pb2.EngineFallback.ValueType(worded.fallback or 0),
        )

    async def SuggestPrompts(
        self, request: prompt_pb2.SuggestPromptsRequest, context: Context
    ) -> prompt_pb2.SuggestPromptsResponse:
        """Return clearer prompts for a vague one, without what the caller wants avoided."""
        found = await asyncio.to_thread(
            suggest, request.prompt, request.count or SUGGESTIONS, self._lexicon, tuple(request.avoid)
        )
        return prompt_pb2.SuggestPromptsResponse(
            prompts=[one.prompt for one in found],
            suggestions=[
                prompt_pb2.PromptSuggestion(prompt=one.prompt, reason=one.reason, added=one.added)
                for one in found
            ],
        )

    def _named(self, name: str) -> Style:
        try:
            return self._lexicon.styles.get(name)
        except UnknownStyleError as error:
            raise MeshError(
                errors_pb2.ERROR_REASON_STYLE_UNKNOWN,
                f"style: {name!r} is not known; leave it out to have one detected, or take one of "
                + ", ".join(error.near or self._lexicon.styles.names),
                field="style",
                suggestions=error.near or self._lexicon.styles.names,
            ) from error

    async def _detect(self, prompt: str) -> list[detection.Match]:
        """Return the styles by keywords, and where there are none by likeness, if the model answers."""
        wording = Wording.of(prompt)
        named = detection.by_keywords(wording, unwanted(prompt), self._lexicon.styles)
        if named or not detection.can_be_compared(wording):
            return named
        likeness = await self._exemplars.compare(prompt)
        return detection.by_likeness(likeness) if likeness else []


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[PromptService]:
    """Read the lexicon and embed the exemplars; without the model the server starts with keywords alone."""
    lexicon = await asyncio.to_thread(load)
    async with TritonClient(settings.triton_address) as triton, connect(settings.assets_address) as assets:
        exemplars = Exemplars(lexicon.styles, triton, settings.embedding_seconds)
        await exemplars.compare(WARM_UP)
        templates = [told(template) for template in lexicon.library.templates]
        meanings = Meanings(templates, triton, settings.embedding_seconds)
        own = OwnTemplates(assets, settings.templates_seconds)
        async with _engines(settings, lexicon, meanings) as engines:
            yield PromptService(lexicon, exemplars, meanings, own, engines)


@asynccontextmanager
async def _engines(settings: Settings, lexicon: Lexicon, meanings: Meanings) -> AsyncIterator[Engines]:
    """Make what the settings choose, with templates behind it."""
    templates = Templates(lexicon)
    if settings.engine is EngineName.TEMPLATES:
        yield Engines(templates)
        return
    async with opened(settings) as model:
        seconds = settings.language_model_seconds
        yield Engines(templates, LanguageEngine(model, lexicon, meanings, seconds, Circuit()))


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the prompt server."""
    return ServerSpec(
        name="prompt",
        settings=settings or Settings(),
        services=[prompt_pb2.DESCRIPTOR.services_by_name["PromptService"]],
        build=build,
        register=prompt_pb2_grpc.add_PromptServiceServicer_to_server,
    )
