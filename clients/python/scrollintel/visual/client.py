"""The client: one connection to a mesh, and everything that can be asked of it."""

from scrollintel.visual.calls.connection import ADDRESS
from scrollintel.visual.calls.models import ModelCalls
from scrollintel.visual.calls.prompts import PromptCalls
from scrollintel.visual.calls.provenance import ProvenanceCalls
from scrollintel.visual.calls.quality import QualityCalls
from scrollintel.visual.calls.restoration import RestorationCalls
from scrollintel.visual.calls.templates import TemplateCalls
from scrollintel.visual.calls.works import WorkCalls

__all__ = ["ADDRESS", "VisualClient"]


class VisualClient(
    RestorationCalls, TemplateCalls, PromptCalls, QualityCalls, ProvenanceCalls, WorkCalls, ModelCalls
):
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
