"""The styles' exemplars, by meaning."""

from collections.abc import Mapping

from services.prompt.detection import likeness
from services.prompt.meanings import Meanings
from services.prompt.styles import StyleSet
from services.runtime.triton import TritonClient


class Exemplars:
    """Compares prompts with the styles. Belongs to one event loop."""

    def __init__(self, styles: StyleSet, triton: TritonClient, timeout: float) -> None:
        texts = [text for style in styles.styles for text in style.exemplars]
        self._owners = [style.name for style in styles.styles for _ in style.exemplars]
        self._meanings = Meanings(texts, triton, timeout)

    async def compare(self, prompt: str) -> Mapping[str, float] | None:
        """Return each style's likeness to a prompt, in [-1, 1]; None when the model does not answer in time."""
        cosines = await self._meanings.compare(prompt)
        return None if cosines is None else likeness(cosines, self._owners)
