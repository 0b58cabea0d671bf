"""The caller's own templates, which the asset server keeps."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

import grpc
import structlog

from scrollintel.visual.v1 import assets_pb2, assets_pb2_grpc, errors_pb2
from services.runtime.deadline import budget, until
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError, calling
from services.runtime.templates import wire
from services.runtime.templates.template import Template, TemplateError

if TYPE_CHECKING:
    from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceAsyncStub

PAGE = 200
MOST = 1000  # templates, as many as the asset server lets a tenant keep

log = structlog.get_logger()


class OwnTemplates:
    """Asks the asset server as the caller, who sees no other tenant's; `seconds` is how long it may take."""

    def __init__(self, channel: grpc.aio.Channel, seconds: float) -> None:
        self._stub: AssetServiceAsyncStub = assets_pb2_grpc.AssetServiceStub(channel)
        self._seconds = seconds

    async def all(self) -> tuple[Template, ...] | None:
        """Return the caller's templates, newest first; None when the asset server does not answer in time."""
        found: list[Template] = []
        request = assets_pb2.ListStoredTemplatesRequest(page_size=PAGE)
        try:
            with calling("the asset server"), until(self._seconds):
                while len(found) < MOST:
                    answer = await self._stub.ListStoredTemplates(request, timeout=budget(self._seconds))
                    found += await asyncio.to_thread(_read_all, answer.templates)
                    request.page_token = answer.next_page_token
                    if not request.page_token:
                        break
        except MeshError as error:
            log.warning("own templates left out", reason=error.name)
            return None
        return tuple(found)

    async def get(self, template_id: str) -> Template | None:
        """Return the caller's template of an id, or None; raises MeshError DEPENDENCY_UNAVAILABLE."""
        request = assets_pb2.GetTemplateRequest(id=template_id)
        try:
            with calling("the asset server"):
                answer = await self._stub.GetTemplate(request, timeout=budget(self._seconds))
        except MeshError as error:
            if error.reason == errors_pb2.ERROR_REASON_NOT_FOUND:
                return None
            raise MeshError(
                errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
                "your own templates cannot be reached; try again shortly, or use a built-in one",
                retry_after=DEFAULT_RETRY_SECONDS,
            ) from error
        return _read(answer.template)


def _read_all(messages: Iterable[assets_pb2.StoredTemplate]) -> list[Template]:
    """Return the templates that can be read; for a thread, since 200 with many choices take 0.15 s."""
    return [template for message in messages if (template := _read(message)) is not None]


def _read(message: assets_pb2.StoredTemplate) -> Template | None:
    """Return a template; None for one that another version kept by other rules."""
    try:
        return wire.read(message)
    except TemplateError as error:
        log.warning("own template left out", part=error.part)
        return None
