"""Calls that start a generation, follow it, or stop it."""

import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Unpack

from scrollintel.visual import events, requests
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.assets import AssetCalls
from scrollintel.visual.calls.connection import READ_SECONDS
from scrollintel.visual.comparison import Comparison
from scrollintel.visual.estimate import Estimate
from scrollintel.visual.events import Event
from scrollintel.visual.generation import Generation
from scrollintel.visual.v1 import generation_pb2, usage_pb2


class GenerationCalls(AssetCalls):
    """Drawings, of one model or of several; results fetch their own bytes."""

    def generate_image(
        self,
        prompt: str,
        *,
        negative_prompt: str | None = None,
        style: str | None = None,
        width: int | None = None,
        height: int | None = None,
        aspect_ratio: str | None = None,
        num_images: int | None = None,
        quality: requests.QualityTier | None = None,
        seed: int | None = None,
        guidance_scale: float | None = None,
        steps: int | None = None,
        model_preference: str | None = None,
        enhancement_level: requests.EnhancementLevel | None = None,
        source_image: Media | Asset | None = None,
        min_quality: float | None = None,
        max_attempts: int | None = None,
        quality_metric: requests.QualityMetric | None = None,
        objective: requests.Objective | None = None,
        max_cost_usd: float | None = None,
        user: str | None = None,
        previews: bool = False,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Generation:
        """Start drawing; iterate the answer for its events, await its `result()` for what was made.

        Args:
            prompt: what to draw, 1 to 4,000 characters.
            negative_prompt: what to keep out of the picture.
            style: a style's name, such as `watercolor`; None detects one.
            width: pixels, 256 to 2048.
            height: pixels, 256 to 2048.
            aspect_ratio: width to height, such as `16:9`, instead of one of width and height, or of both.
            num_images: how many pictures, 1 to 16; default 1.
            quality: how much work to spend; default `standard`.
            seed: of the first picture; picture i uses seed + i. Equal seeds give equal pixels. None draws one.
            guidance_scale: how strongly the picture follows the prompt, 0 to 30; None is the model's own default.
            steps: denoising steps, 1 to 150; None is the model's own default.
            model_preference: a model's name; None lets the router choose.
            enhancement_level: how far the prompt may be rewritten; default `standard`.
            source_image: a stored picture to change as the prompt says; only models that edit pictures take one.
            min_quality: a score in [0, 1]; a picture under it is drawn again while `max_attempts`, the cost limit and the
                time allow, and the best one delivered. None draws every picture once.
            max_attempts: how often a picture is drawn at most, 1 to 4; default 3.
            quality_metric: which score `min_quality` is about; default `overall`.
            objective: what the router should favour; default `balanced`.
            max_cost_usd: the most all drawings may cost together, in US dollars; 0 allows own models alone, None sets no
                limit.
            user: names your user, up to 64 characters, for experiments that split by user.
            previews: whether to send small looks at what is being drawn.
            request_id: names the request, so that a repeated call joins the first one; None makes one.
            timeout: seconds, instead of the client's.

        Raises:
            PromptError: a value does not fit its field's type. Broken rules are raised on reading the events.
        """
        spec = requests.image_spec(
            prompt=prompt,
            negative_prompt=negative_prompt,
            style=style,
            width=width,
            height=height,
            aspect_ratio=aspect_ratio,
            num_images=num_images,
            quality=quality,
            seed=seed,
            guidance_scale=guidance_scale,
            steps=steps,
            model_preference=model_preference,
            enhancement_level=enhancement_level,
            source_image=source_image,
            min_quality=min_quality,
            max_attempts=max_attempts,
            quality_metric=quality_metric,
        )
        request = self._request(spec, request_id)
        request.previews = previews
        for field, value in (("objective", objective), ("max_cost_usd", max_cost_usd), ("user", user)):
            requests.put(request, field, value, path="")
        return self._generate(request, timeout)

    async def estimate_image(
        self,
        prompt: str,
        *,
        model_preference: str | None = None,
        objective: requests.Objective | None = None,
        max_cost_usd: float | None = None,
        **image: Unpack[requests.ImageFields],
    ) -> Estimate:
        """Return who could draw and what it would come to, at most as well; nothing is drawn, nor the prompt checked.

        Args:
            prompt: what would be drawn, 1 to 4,000 characters.
            model_preference: as in `generate_image`, and so are the others.
            objective: what the router should favour.
            max_cost_usd: the most all drawings may cost together, in US dollars.
            image: as in `generate_image`.

        Raises:
            PromptError: a value does not fit its field or breaks its rule, or no backend serves the model.
        """
        spec = requests.image_spec(prompt=prompt, model_preference=model_preference, **image)
        request = generation_pb2.EstimateGenerationRequest(spec=spec)
        for field, value in (("objective", objective), ("max_cost_usd", max_cost_usd)):
            requests.put(request, field, value, path="")
        with self._errors():
            answer = await self._generations.EstimateGeneration(
                request, timeout=READ_SECONDS, metadata=self._metadata
            )
        return Estimate.read(answer)

    def compare_models(
        self,
        prompt: str,
        *,
        models: Sequence[str],
        max_cost_usd: float | None = None,
        request_id: str | None = None,
        timeout: float | None = None,
        **image: Unpack[requests.ImageFields],
    ) -> Comparison:
        """Start drawing one prompt on several models, side by side as far as there is room, with one seed for all.

        Args:
            prompt: what to draw, 1 to 4,000 characters.
            models: 2 to 8 names, each once.
            max_cost_usd: the most each of them may cost, in US dollars; 0 allows own models alone.
            request_id: names the request, so that a repeated call joins the first one; None makes one.
            timeout: seconds for all of them, instead of the client's.
            image: as in `generate_image`.

        Raises:
            PromptError: a value does not fit its field's type. Broken rules are raised on reading the events.
        """
        request = generation_pb2.CompareModelsRequest(
            request_id=request_id if request_id is not None else uuid.uuid4().hex,
            spec=requests.image_spec(prompt=prompt, **image),
            models=models,
        )
        requests.put(request, "max_cost_usd", max_cost_usd, path="")
        return Comparison(
            self._generations,
            request,
            address=self.address,
            timeout=self._timeout if timeout is None else timeout,
            metadata=self._metadata,
            download=self.download,
        )

    async def watch(self, generation_id: str, *, after_sequence: int = 0) -> AsyncIterator[Event]:
        """Yield a generation's events after a sequence number, then those still to come; leaving does not cancel it."""
        request = generation_pb2.WatchGenerationRequest(id=generation_id, after_sequence=after_sequence)
        call = self._generations.WatchGeneration(request, timeout=self._timeout, metadata=self._metadata)
        try:
            with self._errors():
                async for response in call:
                    yield events.read(response.event, self.download)
        finally:
            call.cancel()

    async def cancel(self, generation_id: str) -> None:
        """Stop a generation before its next denoising step; one that has ended is left as it is."""
        request = generation_pb2.CancelGenerationRequest(id=generation_id)
        with self._errors():
            await self._generations.CancelGeneration(request, timeout=READ_SECONDS, metadata=self._metadata)

    async def rate(self, generation_id: str, rating: int) -> None:
        """Tell what you, or your user, thought of a generation, from 1 (bad) to 5 (good); the router learns from it.

        The same rating of the same generation counts once, however often it is sent.

        Raises:
            PromptError: the rating is none.
            NotFoundError: there is no such generation of this tenant's, or it was forgotten.
        """
        request = usage_pb2.RecordFeedbackRequest(request_id=uuid.uuid4().hex)
        requests.put(request, "generation_id", generation_id, path="")
        requests.put(request, "rating", rating, path="")
        with self._errors():
            await self._usage.RecordFeedback(request, timeout=READ_SECONDS, metadata=self._metadata)

    @staticmethod
    def _request(
        spec: generation_pb2.GenerationSpec, request_id: str | None
    ) -> generation_pb2.GenerateRequest:
        named = request_id if request_id is not None else uuid.uuid4().hex
        return generation_pb2.GenerateRequest(request_id=named, spec=spec)

    def _generate(self, request: generation_pb2.GenerateRequest, timeout: float | None) -> Generation:
        return Generation(
            self._generations,
            request,
            address=self.address,
            timeout=self._timeout if timeout is None else timeout,
            metadata=self._metadata,
            download=self.download,
        )
