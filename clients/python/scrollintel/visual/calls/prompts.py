"""Calls about prompts: templates and suggestions."""

from collections.abc import Mapping, Sequence

from scrollintel.visual import requests
from scrollintel.visual.calls.connection import PAGE, READ_SECONDS, Connection
from scrollintel.visual.templates import Filled, Suggestion, Template
from scrollintel.visual.v1 import prompt_pb2


class PromptCalls(Connection):
    """Templates to fill and clearer prompts."""

    async def templates(self, query: str = "", *, category: str = "") -> list[Template]:
        """Return the prompt templates: those that a query means, nearest first, or all, in the order of their categories."""
        found: list[Template] = []
        request = prompt_pb2.ListTemplatesRequest(page_size=PAGE)
        requests.put(request, "query", query, path="")
        requests.put(request, "category", category, path="")
        while True:
            with self._errors():
                page = await self._prompts.ListTemplates(
                    request, timeout=READ_SECONDS, metadata=self._metadata
                )
            found += [Template.read(template) for template in page.templates]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def fill_template(self, template_id: str, variables: Mapping[str, str]) -> Filled:
        """Return a template's prompt with its holes filled; those with a default may be left out.

        Raises:
            NotFoundError: there is no such template.
            PromptError: a value does not fit, is missing, or is of no hole; its field is `variables.<name>`.
        """
        request = prompt_pb2.ApplyTemplateRequest()
        requests.put(request, "id", template_id, path="")
        for name, value in variables.items():
            with requests.fitting(f"variables.{name}", "str", value):
                request.variables[name] = value
        with self._errors():
            answer = await self._prompts.ApplyTemplate(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Filled(answer.prompt, answer.style)

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
