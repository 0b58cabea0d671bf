"""Calls about works that must not be reproduced."""

import uuid
from pathlib import Path

from scrollintel.visual import requests
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.connection import PAGE, READ_SECONDS
from scrollintel.visual.calls.lending import LendingCalls
from scrollintel.visual.v1 import safety_pb2
from scrollintel.visual.works import ProtectedWork


class WorkCalls(LendingCalls):
    """The registry of protected works."""

    async def protect(
        self, source: Media | Asset | Path | str | bytes, *, holder: str, request_id: str | None = None
    ) -> str:
        """Register a picture that nobody's pictures may reproduce, and return its id.

        A file that is not stored yet is sent for as long as that takes, and not kept: what stays is a hash and an embedding.

        Args:
            source: the picture.
            holder: who holds the rights.
            request_id: names the request, so that a repeated call is one work; None makes one. The same bytes for the
                same holder are one work in any case.

        Raises:
            MediaError: the file does not decode.
            PromptError: the picture shows too little to be told from others, or the holder breaks a rule.
            RequestIdReusedError: the request_id registered another work.
            ResourceError: there are as many works as may be registered.
            OSError: the file cannot be read.
        """
        request = safety_pb2.RegisterProtectedWorkRequest(
            request_id=request_id if request_id is not None else uuid.uuid4().hex
        )
        requests.put(request, "holder", holder, path="")
        async with self._lent(source) as media:
            request.media.CopyFrom(media.write())
            with self._errors():
                answer = await self._safety.RegisterProtectedWork(
                    request, timeout=self._timeout, metadata=self._metadata
                )
        return answer.id

    async def protected_works(self) -> list[ProtectedWork]:
        """Return the works that one's own tenant registered, newest first."""
        found: list[ProtectedWork] = []
        request = safety_pb2.ListProtectedWorksRequest(page_size=PAGE)
        while True:
            with self._errors():
                page = await self._safety.ListProtectedWorks(
                    request, timeout=READ_SECONDS, metadata=self._metadata
                )
            found += [ProtectedWork.read(work) for work in page.works]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def remove_protected_work(self, work_id: str) -> None:
        """Take out a work that one's own tenant registered.

        Raises:
            NotFoundError: there is no such work of this tenant's.
        """
        request = safety_pb2.RemoveProtectedWorkRequest()
        requests.put(request, "id", work_id, path="")
        with self._errors():
            await self._safety.RemoveProtectedWork(request, timeout=READ_SECONDS, metadata=self._metadata)
