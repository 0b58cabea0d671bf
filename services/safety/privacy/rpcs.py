"""RedactPrompt: the part of SafetyService that replaces personal data."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, safety_pb2
from services.runtime.admission import Admission
from services.runtime.deadline import budget
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.safety.privacy.pseudonyms import Redacted
from services.safety.privacy.redactor import shipped
from services.safety.settings import Settings

Context = grpc.aio.ServicerContext[Any, Any]

log = structlog.get_logger()


class PrivacyRpcs:
    """Serves what needs the redactor alone. Texts come in and go out; none is kept, logged or traced."""

    _prompts: Admission
    _settings: Settings

    async def RedactPrompt(
        self, request: safety_pb2.RedactPromptRequest, context: Context
    ) -> safety_pb2.RedactPromptResponse:
        """Replace what is personal by pseudonyms."""
        async with self._prompts.enter():
            redacted, checks = await self._redacted(request.prompt)
        return safety_pb2.RedactPromptResponse(
            prompt=redacted.text,
            entities=redacted.kinds,
            checks=checks,
            originals=redacted.originals if request.with_originals else {},
        )

    async def _redacted(self, text: str) -> tuple[Redacted, Sequence[str]]:
        """Raises MeshError SAFETY_UNCHECKED for whatever keeps a check from reading the text to its end."""

        def work() -> tuple[Redacted, Sequence[str]]:
            redactor = shipped()
            return redactor.redact(text), redactor.checks

        try:
            async with asyncio.timeout(budget(self._settings.prompt_seconds)):
                return await asyncio.to_thread(work)
        except MeshError:  # the caller's deadline has passed
            raise
        except (
            Exception
        ) as error:  # whatever it was, the text is not free of personal data, and it may quote the text
            log.error("not redacted", error=type(error).__name__)
            raise MeshError(
                errors_pb2.ERROR_REASON_SAFETY_UNCHECKED,
                "the prompt could not be read for personal data, so nothing of it is returned; try again",
                retry_after=DEFAULT_RETRY_SECONDS,
            ) from None
