"""PromptService: from the wire to the lexicon and back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc

from scrollintel.visual.v1 import errors_pb2, prompt_pb2, prompt_pb2_grpc
from services.prompt import detection
from services.prompt.analysis import Analysis, analyse
from services.prompt.enhancement import Asked, enhance
from services.prompt.exemplars import Exemplars
from services.prompt.lexicon import Lexicon, load
from services.prompt.settings import Settings
from services.prompt.styles import Level, Style, UnknownStyleError
from services.prompt.wording import Wording, unwanted
from services.runtime.errors import MeshError
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

WARM_UP = "a cat"


class PromptService(prompt_pb2_grpc.PromptServiceServicer):
    """Analyses and enhances prompts."""

    def __init__(self, lexicon: Lexicon, exemplars: Exemplars) -> None:
        self._lexicon = lexicon
        self._exemplars = exemplars

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
        )
        found, enhanced = await asyncio.to_thread(
            lambda: (analyse(request.prompt, self._lexicon), enhance(asked, self._lexicon))
        )
        return prompt_pb2.EnhancePromptResponse(
            prompt=enhanced.prompt,
            negative_prompt=enhanced.negative_prompt,
            style=style.name if style else "",
            analysis=to_analysis(found, matches),
            dialect=asked.dialect.name,
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


def to_analysis(found: Analysis, matches: list[detection.Match]) -> prompt_pb2.PromptAnalysis:
    """Return an analysis as it goes over the wire."""
    return prompt_pb2.PromptAnalysis(
        subject=found.subject,
        styles=[prompt_pb2.StyleMatch(style=match.style, confidence=match.confidence) for match in matches],
        missing_aspects=found.missing,
        words=found.words,
        aspects=[prompt_pb2.PromptAspect(name=name, phrases=said) for name, said in found.said.items()],
        ambiguities=[
            prompt_pb2.Ambiguity(
                kind=prompt_pb2.AmbiguityKind.ValueType(one.kind), phrase=one.phrase, readings=one.readings
            )
            for one in found.ambiguities
        ],
        language=found.language,
    )


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[PromptService]:
    """Read the lexicon and embed the exemplars; without the model the server starts with keywords alone."""
    lexicon = await asyncio.to_thread(load)
    async with TritonClient(settings.triton_address) as triton:
        exemplars = Exemplars(lexicon.styles, triton, settings.embedding_seconds)
        await exemplars.compare(WARM_UP)
        yield PromptService(lexicon, exemplars)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the prompt server."""
    return ServerSpec(
        name="prompt",
        settings=settings or Settings(),
        services=[prompt_pb2.DESCRIPTOR.services_by_name["PromptService"]],
        build=build,
        register=prompt_pb2_grpc.add_PromptServiceServicer_to_server,
    )
