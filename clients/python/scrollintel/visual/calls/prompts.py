"""Calls about prompts as they are typed."""

from collections.abc import Sequence

from scrollintel.visual import requests
from scrollintel.visual.calls.connection import READ_SECONDS, Connection
from scrollintel.visual.redaction import Redaction
from scrollintel.visual.templates import Suggestion
from scrollintel.visual.v1 import prompt_pb2, safety_pb2


class PromptCalls(Connection):
    """Clearer prompts for vague ones, and prompts without what is personal."""

    async def suggest(self, prompt: str, *, count: int = 3, avoid: Sequence[str] = ()) -> list[Suggestion]:
        """Return up to `count` (1 to 10) clearer prompts for a vague one; none where it leaves nothing open.

        Words to `avoid`, such as a SafetyError's evidence, are left out of them.
        """
        request = prompt_pb2.SuggestPromptsRequest()
        requests.put(request, "prompt", prompt, path="")
        for span in avoid:
            with requests.fitting("avoid", "str", span):
                request.avoid.append(span)
        requests.put(request, "count", count, path="")
        with self._errors():
            answer = await self._prompts.SuggestPrompts(
                request, timeout=READ_SECONDS, metadata=self._metadata
            )
        return [Suggestion(one.prompt, one.reason, dict(one.added)) for one in answer.suggestions]

    async def redact(self, prompt: str, *, with_originals: bool = False) -> Redaction:
        """Return a prompt of up to 8,000 characters with pseudonyms in the place of personal data; nothing of it is kept.

        Raises:
            PromptError: the prompt is empty or too long.
            SafetyError: it could not be read to its end.
        """
        request = safety_pb2.RedactPromptRequest(with_originals=with_originals)
        requests.put(request, "prompt", prompt, path="")
        with self._errors():
            answer = await self._safety.RedactPrompt(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Redaction.read(answer)
