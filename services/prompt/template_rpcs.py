"""The part of PromptService that offers and fills templates: the shipped ones, and the caller's own."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc

from scrollintel.visual.v1 import errors_pb2, prompt_pb2
from services.prompt.lexicon import Lexicon
from services.prompt.meanings import Meanings
from services.prompt.own import OwnTemplates
from services.prompt.pages import PageTokenError, page
from services.prompt.search import by_meaning, by_words, told
from services.runtime.errors import MeshError
from services.runtime.templates import wire
from services.runtime.templates.template import FillError, Template

Context = grpc.aio.ServicerContext[Any, Any]

PAGE = 50  # templates, where the caller does not say


class TemplateRpcs:
    """Serves templates. `_meanings` knows the shipped ones, in their order."""

    _lexicon: Lexicon
    _meanings: Meanings
    _own: OwnTemplates

    async def ListTemplates(
        self, request: prompt_pb2.ListTemplatesRequest, context: Context
    ) -> prompt_pb2.ListTemplatesResponse:
        """Return a page of the templates, or of those that a query means."""
        own = await self._own.all()
        templates = (*self._lexicon.library.templates, *(own or ()))
        query = request.query.strip()
        found = [
            template
            for template in (await self._meant(query, templates) if query else templates)
            if request.category in ("", template.category)
        ]
        question = (query, request.category)
        try:
            shown, token = page(found, request.page_size or PAGE, request.page_token, question)
        except PageTokenError as error:
            raise _invalid("page_token", str(error)) from error
        return prompt_pb2.ListTemplatesResponse(
            templates=map(wire.write, shown),
            next_page_token=token,
            categories=[
                prompt_pb2.TemplateCategory(name=name, templates=count)
                for name, count in Counter(template.category for template in templates).items()
            ],
            own_unavailable=own is None,
        )

    async def ApplyTemplate(
        self, request: prompt_pb2.ApplyTemplateRequest, context: Context
    ) -> prompt_pb2.ApplyTemplateResponse:
        """Fill a template's holes."""
        template = await self._template(request.id)
        try:
            prompt = template.fill(dict(request.variables))
        except FillError as error:
            raise _invalid(f"variables.{error.variable}", str(error), error.near) from error
        return prompt_pb2.ApplyTemplateResponse(prompt=prompt, style=template.style)

    async def _meant(self, query: str, templates: Sequence[Template]) -> Sequence[Template]:
        """Return the templates that a query means, nearest first; the shipped ones are before the caller's own."""
        own = [told(template) for template in templates[len(self._lexicon.library.templates) :]]
        cosines = await self._meanings.compare(query, own)
        if cosines is None:
            return await asyncio.to_thread(by_words, query, templates)
        return by_meaning(cosines, templates)

    async def _template(self, template_id: str) -> Template:
        library = self._lexicon.library
        own = template_id.startswith(wire.OWN)
        template = await self._own.get(template_id) if own else library.get(template_id)
        if template is None:
            near = [] if own else library.near(template_id)
            raise MeshError(
                errors_pb2.ERROR_REASON_NOT_FOUND,
                f"id: there is no such template; {'did you mean ' + ' or '.join(near) if near else 'list them'}",
                field="id",
                suggestions=near,
            )
        return template


def _invalid(field: str, rule: str, near: Sequence[str] = ()) -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {rule}", field=field, suggestions=list(near)
    )
