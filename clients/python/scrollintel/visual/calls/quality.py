"""Calls that measure pictures and videos."""

from scrollintel.visual import requests
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.connection import READ_SECONDS, Connection
from scrollintel.visual.difference import Difference
from scrollintel.visual.v1 import quality_pb2


class QualityCalls(Connection):
    """Scores and comparisons."""

    async def compare_images(self, reference: Media | Asset, candidate: Media | Asset) -> Difference:
        """Return how far a stored picture is from another one of its size.

        Raises:
            PromptError: the sizes differ, or are under 11 pixels a side or over 16.7 million pixels.
            NotFoundError: the bytes of one are no longer stored.
        """
        request = quality_pb2.CompareImagesRequest(
            reference=requests.media_of(reference).write(), candidate=requests.media_of(candidate).write()
        )
        with self._errors():
            answer = await self._quality.CompareImages(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Difference.read(answer)
