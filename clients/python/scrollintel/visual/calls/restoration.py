"""Calls that restore pictures."""

from collections.abc import Callable
from pathlib import Path

from scrollintel.visual import requests
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.generations import GenerationCalls
from scrollintel.visual.events import Step
from scrollintel.visual.generation import Generation
from scrollintel.visual.operations import Operation


class RestorationCalls(GenerationCalls):
    """Denoising, deblurring, faces and enlargement, as a generation or all in one."""

    def enhance_image(
        self,
        source: Media | Asset,
        *operations: Operation,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Generation:
        """Start restoring stored media by operations, in the order given, 1 to 8 of them; see `enhance` for all in one.

        Raises:
            PromptError: no operation was given, or an Upscale has neither or both of factor and size. Broken rules are
                raised on reading the events.
        """
        spec = requests.enhancement_spec(requests.media_of(source).write(), operations)
        return self._generate(self._request(spec, request_id), timeout)

    async def enhance(
        self,
        source: Media | Asset | Path | str | bytes,
        *operations: Operation,
        on_step: Callable[[Step], None] | None = None,
        timeout: float | None = None,
    ) -> Asset:
        """Restore a picture and return what was made: upload it unless it is stored, and wait for the result.

        The result is a PNG, with the alpha of the picture. Cancelling the task stops the work.

        Args:
            source: a PNG, JPEG or WebP file's path or bytes, or what is stored already.
            operations: what to do, in this order, such as `Denoise(), Upscale(factor=4)`.
            on_step: called with every piece of work that is done.
            timeout: seconds, instead of the client's.

        Raises:
            MediaError: the file is of another kind, or does not decode.
            ModelError: a model that is needed is not here; its text says how to get it.
            OSError: the file cannot be read.
        """
        stored = source if isinstance(source, Media | Asset) else await self.upload(source)
        async with self.enhance_image(stored, *operations, timeout=timeout) as generation:
            async for event in generation:
                if on_step is not None and isinstance(event, Step):
                    on_step(event)
            result = await generation.result()
        return result.assets[0]
