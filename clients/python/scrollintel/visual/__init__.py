"""Pictures from words: the client of the Visual Mesh.

Start at `VisualClient`; the events are in `scrollintel.visual.events`, the errors in `scrollintel.visual.exceptions`.
The contract itself is in `scrollintel.visual.v1`.
"""

from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.catalogue import Backend, Model
from scrollintel.visual.client import VisualClient
from scrollintel.visual.comparison import Comparison
from scrollintel.visual.difference import Difference
from scrollintel.visual.estimate import Estimate
from scrollintel.visual.events import (
    Candidate,
    Checked,
    Completed,
    Decision,
    Event,
    Failed,
    Fallback,
    Judged,
    Output,
    Preview,
    PromptEnhanced,
    Queued,
    Routed,
    Scored,
    Stage,
    Step,
)
from scrollintel.visual.exceptions import (
    DeadlineExceededError,
    GenerationCancelledError,
    InternalError,
    MediaError,
    MeshUnavailableError,
    ModelError,
    NotFoundError,
    NotServedError,
    PromptError,
    RequestIdReusedError,
    ResourceError,
    SafetyError,
    VisualMeshError,
)
from scrollintel.visual.generation import Generation
from scrollintel.visual.operations import Deblur, Denoise, Operation, RestoreFaces, Upscale
from scrollintel.visual.provenance import Provenance
from scrollintel.visual.quality import Quality, Score
from scrollintel.visual.redaction import Redaction
from scrollintel.visual.results import GenerationResult, GenerationState
from scrollintel.visual.safety import SafetyAction, SafetyCategory, SafetyFinding
from scrollintel.visual.templates import Filled, Hole, Suggestion, Template, TemplateList
from scrollintel.visual.works import ProtectedWork

__all__ = [
    "Asset",
    "Backend",
    "Candidate",
    "Checked",
    "Comparison",
    "Completed",
    "DeadlineExceededError",
    "Deblur",
    "Decision",
    "Denoise",
    "Difference",
    "Estimate",
    "Event",
    "Failed",
    "Fallback",
    "Filled",
    "Generation",
    "GenerationCancelledError",
    "GenerationResult",
    "GenerationState",
    "Hole",
    "InternalError",
    "Judged",
    "Media",
    "MediaError",
    "MeshUnavailableError",
    "Model",
    "ModelError",
    "NotFoundError",
    "NotServedError",
    "Operation",
    "Output",
    "Preview",
    "PromptEnhanced",
    "PromptError",
    "ProtectedWork",
    "Provenance",
    "Quality",
    "Queued",
    "Redaction",
    "RequestIdReusedError",
    "ResourceError",
    "RestoreFaces",
    "Routed",
    "SafetyAction",
    "SafetyCategory",
    "SafetyError",
    "SafetyFinding",
    "Score",
    "Scored",
    "Stage",
    "Step",
    "Suggestion",
    "Template",
    "TemplateList",
    "Upscale",
    "VisualClient",
    "VisualMeshError",
]
