"""Calls that ask where a picture comes from."""

from pathlib import Path

from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.lending import LendingCalls
from scrollintel.visual.provenance import Provenance
from scrollintel.visual.v1 import safety_pb2


class ProvenanceCalls(LendingCalls):
    """Verification of manifests and watermarks."""

    async def verify(self, source: Media | Asset | Path | str | bytes) -> Provenance:
        """Return where a PNG, JPEG, WebP or MP4 file comes from, as its signed manifest and its watermark say.

        A file that is not stored yet is sent for as long as that takes, and not kept.

        Raises:
            MediaError: the file is of another kind, or does not decode.
            NotFoundError: the bytes are no longer stored.
            OSError: the file cannot be read.
        """
        async with self._lent(source) as media:
            request = safety_pb2.VerifyProvenanceRequest(media=media.write())
            with self._errors():
                answer = await self._safety.VerifyProvenance(
                    request, timeout=self._timeout, metadata=self._metadata
                )
        return Provenance.read(answer)
