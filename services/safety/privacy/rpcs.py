"""RedactPrompt: the part of SafetyService that replaces personal data."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, safety_pb2
from services.runtime.admission import Admission
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.runtime.turns import in_turn
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
        work = partial(self._redacted, request.prompt)
        redacted, checks = await in_turn(self._prompts, self._settings.prompt_seconds, work, _unread)
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
            return await asyncio.to_thread(work)
        except (
            Exception
        ) as error:  # whatever it was, the text is not free of personal data, and it may quote the text
            log.error("not redacted", error=type(error).__name__)
            raise _unread() from None


def _unread() -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_SAFETY_UNCHECKED,
        "the prompt could not be read for personal data, so nothing of it is returned; try again",
        retry_after=DEFAULT_RETRY_SECONDS,
    )
