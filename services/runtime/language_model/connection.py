"""Opening the model that the settings name."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from services.runtime.channels import connect
from services.runtime.language_model.endpoint import Endpoint
from services.runtime.language_model.house import House
from services.runtime.language_model.interface import LanguageModel
from services.runtime.language_model.settings import LanguageModelSettings
from services.runtime.models import Models
from services.runtime.triton import TritonClient


@asynccontextmanager
async def opened(settings: LanguageModelSettings) -> AsyncIterator[LanguageModel]:
    """Keep the connections while the body runs; nothing is asked, so it opens whether the model is there or not."""
    async with AsyncExitStack() as stack:
        if settings.language_model_url:
            key = settings.language_model_api_key.get_secret_value().strip()  # files end in a line break
            yield await stack.enter_async_context(
                Endpoint(settings.language_model_url, settings.language_model_name, key)
            )
            return
        triton = await stack.enter_async_context(TritonClient(settings.triton_address))
        models = None
        if settings.models_address:
            models = Models(await stack.enter_async_context(connect(settings.models_address)))
        yield House(triton, models)
