"""What may be asked at the door, and who answers: the whole of it, as data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

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


@dataclass(frozen=True)
class Route:
    """A service, the server behind the door that answers for it, and the rpcs that are open.

    Any other rpc answers UNIMPLEMENTED: it is for the mesh's own servers, or no server serves it yet.
    """

    service: ServiceDescriptor
    server: str
    open: frozenset[str]

    def methods(self) -> Iterator[tuple[MethodDescriptor, bool]]:
        """Yield every rpc of the service, and whether it is open."""
        for method in self.service.methods:
            yield method, method.name in self.open


def _service(module: object, name: str) -> ServiceDescriptor:
    services: Mapping[str, ServiceDescriptor] = module.DESCRIPTOR.services_by_name  # type: ignore[attr-defined]
    return services[name]


ROUTES: tuple[Route, ...] = (
    Route(
        _service(generation_pb2, "GenerationService"),
        "orchestrator",
        frozenset(
            {
                "Generate",
                "CompareModels",
                "EstimateGeneration",
                "GetGeneration",
                "WatchGeneration",
                "CancelGeneration",
                "ListGenerations",
            }
        ),
    ),
    Route(
        _service(prompt_pb2, "PromptService"),
        "prompt",
        frozenset({"AnalyzePrompt", "EnhancePrompt", "SuggestPrompts", "ListTemplates", "ApplyTemplate"}),
    ),
    Route(
        _service(assets_pb2, "AssetService"),
        "assets",
        frozenset(
            {
                "GetAsset",
                "ListAssets",
                "DownloadAsset",
                "UploadAsset",
                "DeleteAsset",
                "CreateTemplate",
                "GetTemplate",
                "ListStoredTemplates",
                "DeleteTemplate",
            }
        ),
    ),
    Route(
        _service(models_pb2, "ModelService"),
        "models",
        frozenset({"ListModels", "GetModel", "LoadModel", "UnloadModel"}),
    ),
    Route(_service(router_pb2, "RouterService"), "router", frozenset({"ListBackends", "Route"})),
    Route(_service(usage_pb2, "UsageService"), "usage", frozenset({"RecordFeedback"})),
    Route(_service(quality_pb2, "QualityService"), "quality", frozenset({"CompareImages", "ScoreVideo"})),
    Route(
        _service(safety_pb2, "SafetyService"),
        "safety",
        frozenset(
            {
                "RedactPrompt",
                "VerifyProvenance",
                "RegisterProtectedWork",
                "ListProtectedWorks",
                "RemoveProtectedWork",
            }
        ),
    ),
)
