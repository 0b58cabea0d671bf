"""Calls about prompts as they are typed."""

from collections.abc import Sequence

from scrollintel.visual import requests
from scrollintel.visual.calls.connection import READ_SECONDS, Connection
from scrollintel.visual.templates import Suggestion
from scrollintel.visual.v1 import prompt_pb2


class PromptCalls(Connection):
    """Clearer prompts for vague ones."""

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
