"""What the prompt room found, as it goes over the wire."""

from collections.abc import Sequence

from scrollintel.visual.v1 import prompt_pb2
from services.prompt.analysis import Analysis
from services.prompt.detection import Match


def to_analysis(found: Analysis, matches: Sequence[Match]) -> prompt_pb2.PromptAnalysis:
    """Return an analysis."""
    return prompt_pb2.PromptAnalysis(
        subject=found.subject,
        styles=[prompt_pb2.StyleMatch(style=match.style, confidence=match.confidence) for match in matches],
        missing_aspects=found.missing,
        words=found.words,
        aspects=[prompt_pb2.PromptAspect(name=name, phrases=said) for name, said in found.said.items()],
        ambiguities=[
            prompt_pb2.Ambiguity(
                kind=prompt_pb2.AmbiguityKind.ValueType(one.kind), phrase=one.phrase, readings=one.readings
            )
            for one in found.ambiguities
        ],
        language=found.language,
    )
