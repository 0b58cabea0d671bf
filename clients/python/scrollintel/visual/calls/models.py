"""Calls about what can make media: the catalogue's models and the router's backends."""

from scrollintel.visual.calls.connection import PAGE, READ_SECONDS, Connection
from scrollintel.visual.catalogue import Backend, Model
from scrollintel.visual.v1 import models_pb2, router_pb2

LOAD_SECONDS = 600.0


class ModelCalls(Connection):
    """The catalogue, what is in memory of it, and backends."""

    async def models(self) -> list[Model]:
        """Return the catalogue, by name."""
        found: list[Model] = []
        token = ""
        while True:
            request = models_pb2.ListModelsRequest(page_size=PAGE, page_token=token)
            with self._errors():
                page = await self._models.ListModels(request, timeout=READ_SECONDS, metadata=self._metadata)
            found += [Model.read(model) for model in page.models]
            token = page.next_page_token
            if not token:
                return found

    async def load_model(self, name: str, *, timeout: float = LOAD_SECONDS) -> Model:
        """Bring a built model into memory and wait until it answers; it stays until its memory is needed.

        Raises:
            NotFoundError: the catalogue has no such model.
            ModelError: it is not built, or could not be loaded.
            ResourceError: it does not fit beside what is pinned and in use.
        """
        request = models_pb2.LoadModelRequest(name=name)
        with self._errors():
            answer = await self._models.LoadModel(request, timeout=timeout, metadata=self._metadata)
        return Model.read(answer.model)

    async def unload_model(self, name: str, *, timeout: float = LOAD_SECONDS) -> Model:
        """Take a model out of memory.

        Raises:
            NotFoundError: the catalogue has no such model.
            PromptError: it is pinned.
            ResourceError: it is in use.
        """
        request = models_pb2.UnloadModelRequest(name=name)
        with self._errors():
            answer = await self._models.UnloadModel(request, timeout=timeout, metadata=self._metadata)
        return Model.read(answer.model)

    async def backends(self) -> list[Backend]:
        """Return what can make media, by name."""
        request = router_pb2.ListBackendsRequest()
        with self._errors():
            answer = await self._router.ListBackends(request, timeout=READ_SECONDS, metadata=self._metadata)
        return [Backend.read(backend) for backend in answer.backends]
