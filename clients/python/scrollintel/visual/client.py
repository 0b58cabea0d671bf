"""The client: one connection to a mesh, and everything that can be asked of it."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

import grpc

from scrollintel.visual import events, exceptions, requests, uploads
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.catalogue import Backend, Model
from scrollintel.visual.comparison import Comparison
from scrollintel.visual.difference import Difference
from scrollintel.visual.events import Event, Step
from scrollintel.visual.generation import Generation
from scrollintel.visual.operations import Operation
from scrollintel.visual.provenance import Provenance
from scrollintel.visual.templates import Filled, Suggestion, Template
from scrollintel.visual.v1 import (
    assets_pb2,
    generation_pb2,
    models_pb2,
    prompt_pb2,
    quality_pb2,
    router_pb2,
    safety_pb2,
    usage_pb2,
)
from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceStub
from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceStub
from scrollintel.visual.v1.models_pb2_grpc import ModelServiceStub
from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceStub
from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceStub
from scrollintel.visual.v1.router_pb2_grpc import RouterServiceStub
from scrollintel.visual.v1.safety_pb2_grpc import SafetyServiceStub
from scrollintel.visual.v1.usage_pb2_grpc import UsageServiceStub

if TYPE_CHECKING:  # the asynchronous stubs exist for type checkers alone
    from scrollintel.visual.v1.assets_pb2_grpc import AssetServiceAsyncStub
    from scrollintel.visual.v1.generation_pb2_grpc import GenerationServiceAsyncStub
    from scrollintel.visual.v1.models_pb2_grpc import ModelServiceAsyncStub
    from scrollintel.visual.v1.prompt_pb2_grpc import PromptServiceAsyncStub
    from scrollintel.visual.v1.quality_pb2_grpc import QualityServiceAsyncStub
    from scrollintel.visual.v1.router_pb2_grpc import RouterServiceAsyncStub
    from scrollintel.visual.v1.safety_pb2_grpc import SafetyServiceAsyncStub
    from scrollintel.visual.v1.usage_pb2_grpc import UsageServiceAsyncStub

ADDRESS = "127.0.0.1:50051"
READ_SECONDS = 30.0
LOAD_SECONDS = 600.0
PAGE = 200

# The pings are as often as those between the mesh's own servers.
OPTIONS: list[tuple[str, Any]] = [
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class VisualClient:
    """A connection to a mesh, as an async context manager.

        async with VisualClient() as client:
            generation = client.generate_image("a smiling cat", seed=7)
            async for event in generation:
                print(event)
            result = await generation.result()
            await result.assets[0].save("cat.png")

    Every method raises the exceptions of `scrollintel.visual.exceptions`. Inside one event loop a client may be shared
    by any number of tasks.

    Args:
        address: `host:port` of the gateway, or a gRPC target such as `dns:///mesh:50051`.
        api_key: sent with every call as a bearer token.
        timeout: seconds a generation, an upload or a download may take; None sets no limit.
        credentials: TLS credentials; None connects in the clear.
    """

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        api_key: str | None = None,
        timeout: float | None = 120.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self.address = address
        self._timeout = timeout
        self._credentials = credentials
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        if self._credentials:
            self._channel = grpc.aio.secure_channel(self.address, self._credentials, options=OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(self.address, options=OPTIONS)
        self._generations: GenerationServiceAsyncStub = GenerationServiceStub(self._channel)
        self._assets: AssetServiceAsyncStub = AssetServiceStub(self._channel)
        self._models: ModelServiceAsyncStub = ModelServiceStub(self._channel)
        self._router: RouterServiceAsyncStub = RouterServiceStub(self._channel)
        self._usage: UsageServiceAsyncStub = UsageServiceStub(self._channel)
        self._prompts: PromptServiceAsyncStub = PromptServiceStub(self._channel)
        self._quality: QualityServiceAsyncStub = QualityServiceStub(self._channel)
        self._safety: SafetyServiceAsyncStub = SafetyServiceStub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; generations that have not ended are stopped."""
        if self._channel:
            await self._channel.close(None)
            self._channel = None

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
            objective: what the router should favour; default `balanced`.
            max_cost_usd: the most it may cost, in US dollars; 0 allows own models alone, None sets no limit.
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
        )
        request = self._request(spec, request_id)
        request.previews = previews
        for field, value in (("objective", objective), ("max_cost_usd", max_cost_usd), ("user", user)):
            requests.put(request, field, value, path="")
        return self._generate(request, timeout)

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

    async def verify(self, source: Media | Asset | Path | str | bytes) -> Provenance:
        """Return where a PNG, JPEG or WebP picture comes from, as its signed manifest and its watermark say.

        A file that is not stored yet is sent for as long as that takes, and not kept.

        Raises:
            MediaError: the file is of another kind, or does not decode.
            NotFoundError: the bytes are no longer stored.
            OSError: the file cannot be read.
        """
        if isinstance(source, Media | Asset):
            return await self._verify(requests.media_of(source))
        sent = await self.upload(source)
        try:
            return await self._verify(sent.media)
        finally:
            request = assets_pb2.DeleteAssetRequest(id=sent.id)
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._assets.DeleteAsset(request, timeout=READ_SECONDS, metadata=self._metadata)

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

    async def templates(self, query: str = "", *, category: str = "") -> list[Template]:
        """Return the prompt templates: those that a query means, nearest first, or all, in the order of their categories."""
        found: list[Template] = []
        request = prompt_pb2.ListTemplatesRequest(page_size=PAGE)
        requests.put(request, "query", query, path="")
        requests.put(request, "category", category, path="")
        while True:
            with self._errors():
                page = await self._prompts.ListTemplates(
                    request, timeout=READ_SECONDS, metadata=self._metadata
                )
            found += [Template.read(template) for template in page.templates]
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    async def fill_template(self, template_id: str, variables: Mapping[str, str]) -> Filled:
        """Return a template's prompt with its holes filled; those with a default may be left out.

        Raises:
            NotFoundError: there is no such template.
            PromptError: a value does not fit, is missing, or is of no hole; its field is `variables.<name>`.
        """
        request = prompt_pb2.ApplyTemplateRequest()
        requests.put(request, "id", template_id, path="")
        for name, value in variables.items():
            with requests.fitting(f"variables.{name}", "str", value):
                request.variables[name] = value
        with self._errors():
            answer = await self._prompts.ApplyTemplate(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Filled(answer.prompt, answer.style)

    async def suggest(self, prompt: str, *, count: int = 3, avoid: Sequence[str] = ()) -> list[Suggestion]:
        """Return up to `count` (1 to 10) clearer prompts for a vague one; none where it leaves nothing open.

        Words to `avoid`, such as a SafetyError's evidence, are left out of them.
        """
        request = prompt_pb2.SuggestPromptsRequest()
        requests.put(request, "prompt", prompt, path="")
        for span in avoid:
            with requests.fitting("avoid", "str", span):
                request.avoid.append(span)
        requests.put(request, "count", count, path="")
        with self._errors():
            answer = await self._prompts.SuggestPrompts(
                request, timeout=READ_SECONDS, metadata=self._metadata
            )
        return [Suggestion(one.prompt, one.reason, dict(one.added)) for one in answer.suggestions]

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

    async def asset(self, asset_id: str) -> Asset:
        """Return an asset's record."""
        request = assets_pb2.GetAssetRequest(id=asset_id)
        with self._errors():
            answer = await self._assets.GetAsset(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Asset.load(answer.asset, self.download)

    async def upload(self, source: str | Path | bytes, *, metadata: dict[str, str] | None = None) -> Asset:
        """Store a PNG, JPEG or WebP picture of up to 64 MiB and 67 megapixels, by its file's path or its bytes.

        Raises:
            MediaError: it is of another kind, or does not decode.
            OSError: the file cannot be read.
        """
        parts = (await uploads.read(source)).parts(metadata)
        with self._errors():
            answer = await self._assets.UploadAsset(parts, timeout=self._timeout, metadata=self._metadata)
        return Asset.load(answer.asset, self.download)

    async def download(self, asset_id: str) -> bytes:
        """Return an asset's bytes as stored; `Asset.read` checks them as well."""
        data = bytearray()
        request = assets_pb2.DownloadAssetRequest(id=asset_id)
        with self._errors():
            async for part in self._assets.DownloadAsset(
                request, timeout=self._timeout, metadata=self._metadata
            ):
                data += part.data
        return bytes(data)

    async def _verify(self, media: Media) -> Provenance:
        request = safety_pb2.VerifyProvenanceRequest(media=media.write())
        with self._errors():
            answer = await self._safety.VerifyProvenance(
                request, timeout=self._timeout, metadata=self._metadata
            )
        return Provenance.read(answer)

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

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise exceptions.from_rpc(error, self.address) from error
