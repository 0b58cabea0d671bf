"""The part of AssetService that keeps templates of tenants' own."""

import hashlib
import uuid
from datetime import UTC, datetime
from typing import Any

import grpc

from scrollintel.visual.v1 import assets_pb2, errors_pb2
from services.assets.page_token import InvalidPageTokenError, decode_page_token, encode_page_token
from services.assets.templates import Asked, Templates
from services.runtime import identity
from services.runtime.errors import MeshError
from services.runtime.templates import wire
from services.runtime.templates.template import TemplateError

Context = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE = 50
MOST_BYTES = 16 << 10  # of one template, so that a page of 200 is no burden to who reads it
OWN_CATEGORY = "own"


class TemplateRpcs:
    """Serves what needs the table of templates alone; a tenant sees its own."""

    _templates: Templates

    async def CreateTemplate(
        self, request: assets_pb2.CreateTemplateRequest, context: Context
    ) -> assets_pb2.CreateTemplateResponse:
        """Keep a template that its own grammar allows."""
        template = _asked(request)
        if template.ByteSize() > MOST_BYTES:
            raise _invalid("holes", f"the whole template has at most {MOST_BYTES} bytes")
        try:
            read = wire.read(template)
        except TemplateError as error:
            raise _invalid(error.part, str(error)) from error
        del template.holes[:]
        template.holes.extend(wire.write(read).holes)  # a choice's default is its first option, said or not
        asked = Asked(identity.current().tenant, request.request_id, _digest(request), template)
        return assets_pb2.CreateTemplateResponse(template=await self._templates.keep(asked))

    async def GetTemplate(
        self, request: assets_pb2.GetTemplateRequest, context: Context
    ) -> assets_pb2.GetTemplateResponse:
        """Read one template."""
        found = await self._templates.get(identity.current().tenant, request.id)
        if found is None:
            raise _no_template(request.id)
        return assets_pb2.GetTemplateResponse(template=found)

    async def ListStoredTemplates(
        self, request: assets_pb2.ListStoredTemplatesRequest, context: Context
    ) -> assets_pb2.ListStoredTemplatesResponse:
        """Read a page, and one template more to know whether there is a next."""
        try:
            before = decode_page_token(request.page_token)
        except InvalidPageTokenError as error:
            raise _invalid("page_token", str(error)) from error
        size = request.page_size or DEFAULT_PAGE
        page = await self._templates.page(identity.current().tenant, before, size + 1)
        more = len(page) > size
        return assets_pb2.ListStoredTemplatesResponse(
            templates=[kept.template for kept in page[:size]],
            next_page_token=encode_page_token(page[size - 1].sequence) if more else "",
        )

    async def DeleteTemplate(
        self, request: assets_pb2.DeleteTemplateRequest, context: Context
    ) -> assets_pb2.DeleteTemplateResponse:
        """Remove a template."""
        if not await self._templates.delete(identity.current().tenant, request.id):
            raise _no_template(request.id)
        return assets_pb2.DeleteTemplateResponse()


def _asked(request: assets_pb2.CreateTemplateRequest) -> assets_pb2.StoredTemplate:
    """Return the template that a request describes, with what it leaves to the server."""
    if request.kind != assets_pb2.TEMPLATE_KIND_PROMPT:
        raise _invalid("kind", "only templates of prompts are kept in this version")
    template = assets_pb2.StoredTemplate(
        id=request.id or wire.OWN + uuid.uuid4().hex[:12],
        kind=request.kind,
        name=request.name,
        text=request.text,
        category=request.category or OWN_CATEGORY,
        style=request.style,
        holes=request.holes,
    )
    template.created_at.FromDatetime(datetime.now(UTC))
    return template


def _digest(request: assets_pb2.CreateTemplateRequest) -> str:
    """Return what equal requests have in common."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


def _no_template(template_id: str) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, f"there is no template {template_id!r}", field="id")


def _invalid(field: str, rule: str) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {rule}", field=field)
