"""Calls about templates: the built-in ones, and those of one's own."""

import difflib
import uuid
from collections.abc import Mapping, Sequence

from scrollintel.visual import requests
from scrollintel.visual.calls.connection import PAGE, READ_SECONDS, Connection
from scrollintel.visual.exceptions import NotFoundError
from scrollintel.visual.templates import OWN, Filled, Hole, Template, TemplateList
from scrollintel.visual.v1 import assets_pb2, prompt_pb2


class TemplateCalls(Connection):
    """Prompts with holes."""

    async def templates(self, query: str = "", *, category: str = "") -> TemplateList:
        """Return the prompt templates: those that a query means, nearest first, or all, one's own last and newest first."""
        found = TemplateList()
        request = prompt_pb2.ListTemplatesRequest(page_size=PAGE)
        requests.put(request, "query", query, path="")
        requests.put(request, "category", category, path="")
        while True:
            with self._errors():
                page = await self._prompts.ListTemplates(
                    request, timeout=READ_SECONDS, metadata=self._metadata
                )
            found += [Template.read(template) for template in page.templates]
            found.own_unavailable |= page.own_unavailable
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def template(self, template_id: str) -> Template:
        """Return one template.

        Raises:
            NotFoundError: there is no such template; it suggests near ids of built-in ones.
        """
        if template_id.startswith(OWN):
            request = assets_pb2.GetTemplateRequest()
            requests.put(request, "id", template_id, path="")
            with self._errors():
                answer = await self._assets.GetTemplate(
                    request, timeout=READ_SECONDS, metadata=self._metadata
                )
            return Template.stored(answer.template)
        known = {template.id: template for template in await self.templates()}
        if template_id in known:
            return known[template_id]
        near = difflib.get_close_matches(template_id, known)
        raise NotFoundError(
            f"id: there is no template {template_id!r}",
            reason="NOT_FOUND",
            code="NOT_FOUND",
            field="id",
            suggestions=near,
        )

    async def add_template(
        self,
        text: str,
        *,
        title: str,
        holes: Sequence[Hole] = (),
        template_id: str | None = None,
        category: str | None = None,
        style: str | None = None,
        request_id: str | None = None,
    ) -> Template:
        """Keep a template of one's own, and return it as it is kept.

        Args:
            text: the prompt on one line, holes written {name}.
            title: its name for people.
            holes: what the holes take, in the order of the text.
            template_id: `own-` and small letters, digits and hyphens; None makes one.
            category: a built-in one or another; None is `own`.
            style: a style's name; None for none.
            request_id: names the request, so that a repeated call makes one template; None makes one.

        Raises:
            PromptError: a rule is broken, or the id is taken; the field says which.
            RequestIdReusedError: the request_id made another template.
            ResourceError: there are as many as may be kept.
        """
        request = assets_pb2.CreateTemplateRequest(
            request_id=request_id if request_id is not None else uuid.uuid4().hex,
            kind=assets_pb2.TEMPLATE_KIND_PROMPT,
        )
        fields = {"text": text, "name": title, "id": template_id, "category": category, "style": style}
        for field, value in fields.items():
            requests.put(request, field, value, path="")
        for index, hole in enumerate(holes):
            with requests.fitting(f"holes[{index}]", "Hole", hole):
                request.holes.append(hole.write())
        with self._errors():
            answer = await self._assets.CreateTemplate(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Template.stored(answer.template)

    async def remove_template(self, template_id: str) -> None:
        """Delete a template of one's own.

        Raises:
            NotFoundError: there is no such template of this tenant's.
        """
        request = assets_pb2.DeleteTemplateRequest()
        requests.put(request, "id", template_id, path="")
        with self._errors():
            await self._assets.DeleteTemplate(request, timeout=READ_SECONDS, metadata=self._metadata)

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
