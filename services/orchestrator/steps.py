"""What a generation needs done, without saying who does it.

The pipeline is written against this interface. `calls.MeshSteps` does the steps by calling the servers of the mesh;
a durable engine wraps the same steps so that a finished one is not repeated; tests do them by themselves.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from scrollintel.visual.v1.assets_pb2 import Asset, CreateAssetRequest
from scrollintel.visual.v1.enhance_pb2 import EnhanceImageResponse
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.prompt_pb2 import EnhancePromptResponse
from scrollintel.visual.v1.quality_pb2 import QualityMetrics
from scrollintel.visual.v1.router_pb2 import (
    ExecuteRequest,
    ExecuteResponse,
    ReportOutcomeRequest,
    RouteRequest,
    RouteResponse,
)
from scrollintel.visual.v1.safety_pb2 import (
    CheckImageResponse,
    CheckPromptResponse,
    SealMediaRequest,
    SealMediaResponse,
)
from scrollintel.visual.v1.spec_pb2 import EnhancementSpec, ImageSpec


class Steps(Protocol):
    """The steps. Each raises MeshError when it fails, and stops its work when it is cancelled."""

    async def check_prompt(self, prompt: str, negative_prompt: str) -> CheckPromptResponse:
        """Judge a prompt, and say what to use instead where the policy takes something out of it."""
        ...

    async def enhance_prompt(self, image: ImageSpec) -> EnhancePromptResponse:
        """Rewrite the prompt of a spec as far as its `enhancement_level` allows."""
        ...

    async def route(self, request: RouteRequest) -> RouteResponse:
        """Rank those who could draw; nothing runs."""
        ...

    def execute(self, request: ExecuteRequest) -> AsyncGenerator[ExecuteResponse, None]:
        """Draw, and tell what happens; outputs come at the model's own size."""
        ...

    def enhance_image(self, spec: EnhancementSpec) -> AsyncGenerator[EnhanceImageResponse, None]:
        """Restore a picture, and tell what happens; the restored picture comes last."""
        ...

    async def check_image(self, image: MediaRef) -> CheckImageResponse:
        """Judge a picture."""
        ...

    async def score_image(
        self, image: MediaRef, prompt: str, model: str, *, remember: bool = True
    ) -> QualityMetrics:
        """Score a picture; `prompt` is what it was to show and `model` drew it, each empty where nobody said.

        `remember` counts it among the tenant's results, with which later ones are compared.
        """
        ...

    async def seal_media(self, request: SealMediaRequest) -> SealMediaResponse:
        """Mark and sign a finished picture."""
        ...

    def report_outcome(self, request: ReportOutcomeRequest) -> None:
        """Tell the router how a picture was judged. Returns at once and never fails: nobody waits for what it learns."""
        ...

    async def create_asset(self, request: CreateAssetRequest) -> Asset:
        """Record a picture as an asset."""
        ...
